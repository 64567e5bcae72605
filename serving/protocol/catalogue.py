"""Catalogue: every model that the protocol offers: those of this project, and plain ones beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.inference.batching import Batcher
from serving.models.served import LoadedModel, ModelNotServed, Models
from serving.protocol.errors import LoadRefused, UnknownModel
from serving.protocol.offered_model import Offered
from serving.protocol.repository import Repository
from serving.protocol.segmentation_model import OfferedSegmentation
from serving.protocol.statistics import Statistics


@dataclass(frozen=True)
class ModelCatalogue:
    """Finds models by name and version. A plain model of a segmentation model's name is not seen."""

    models: Models
    batcher: Batcher
    repository: Repository
    statistics: Statistics

    def find(self, name: str, version: str | None = None) -> Offered:
        """The model of that name and version; None: the present, or highest. Raises UnknownModel."""
        try:
            model = self.models.find(name, version)
        except ModelNotServed:
            if self._is_segmentation(name):
                raise UnknownModel(name, version) from None
            return self.repository.find(name, version)
        return self._segmentation(model)

    def offered(self) -> tuple[Offered, ...]:
        """All of them."""
        ours = [self._segmentation(model) for model in self.models.served()]
        hidden = {one.name for one in ours}
        return (*ours, *(model for model in self.repository.served() if model.name not in hidden))

    def versions(self, name: str) -> list[str]:
        """Those that are offered of a model."""
        return sorted({one.version for one in self.offered() if one.name == name}, key=lambda v: (len(v), v))

    def index(self, *, ready: bool) -> list[Mapping[str, Any]]:
        """The repository index: what is offered and, unless `ready`, what lies in the repository and is not."""
        listed: list[Mapping[str, Any]] = [
            {"name": one.name, "version": one.version, "state": "READY"} for one in self.offered()
        ]
        if ready:
            return listed
        return listed + [
            {"name": name, "state": "UNAVAILABLE", "reason": state.reason}
            for name, state in sorted(self.repository.states().items())
            if not state.versions
        ]

    def load(self, name: str, *, config: str | None = None) -> None:
        """Loads a plain model, again or for the first time. Raises LoadRefused."""
        if self._is_segmentation(name):
            raise LoadRefused(f"failed to load '{name}', it follows RICEFISH_MODEL")
        self.repository.load(name, config=config)

    def unload(self, name: str) -> None:
        """Serves a plain model no longer. Raises LoadRefused."""
        if self._is_segmentation(name):
            raise LoadRefused(f"failed to unload '{name}', it follows RICEFISH_MODEL")
        self.repository.unload(name)

    def _segmentation(self, model: LoadedModel) -> OfferedSegmentation:
        identity = model.identity
        return OfferedSegmentation(model, self.batcher, self.statistics.of(identity.name, identity.shown_version))

    def _is_segmentation(self, name: str) -> bool:
        return any(model.identity.name == name for model in self.models.served())
