"""Repository: a folder of plain models, FOLDER/NAME/model.onnx or, as Triton has it, FOLDER/NAME/VERSION/model.onnx."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from scans.model.manifest import MODEL_FILE
from serving.inference.runtime.plain import PlainRuntime
from serving.inference.runtime.session import Device, RuntimeRefused
from serving.observability import logs
from serving.protocol.config_text import ConfigTextError, Message, parse, parse_json
from serving.protocol.errors import LoadRefused, UnknownModel
from serving.protocol.model_config import ConfigRefused, ModelConfig
from serving.protocol.plain_model import PlainModel
from serving.protocol.run_limits import PlainThreads
from serving.protocol.statistics import Statistics

CONFIG_FILE = "config.pbtxt"
_ONLY_VERSION = "1"
"""Of a model that lies in its folder without folders of versions."""


@dataclass(frozen=True)
class RepositoryState:
    """What has become of a folder."""

    versions: Mapping[str, PlainModel] = field(default_factory=lambda: MappingProxyType({}))
    """Those that are served, the highest first."""
    reason: str = ""
    """Why there are none."""


class Repository:
    """Loads, keeps and drops plain models. Safe to use from any thread; a request ends on the version it began with."""

    def __init__(
        self,
        folder: Path | None,
        *,
        device: Device,
        threads: int,
        statistics: Statistics,
        most_waiting: int,
        most_seconds: float,
    ) -> None:
        """Without a folder, there are none. `threads` are those of one request on the CPU; 0: all processors.

        At most `most_waiting` requests wait for each model, and none is computed for longer than `most_seconds`.
        """
        self._most_waiting = most_waiting
        self._folder = folder
        self._device: Device = device
        self._session_threads = threads
        self._statistics = statistics
        self._states: dict[str, RepositoryState] = {}
        self._changing = threading.Lock()
        self._threads = PlainThreads(os.cpu_count() or 1, most_seconds=most_seconds)

    def load_all(self) -> None:
        """Loads whatever lies in the folder. Raises LoadRefused if there is no such folder; a bad model is logged."""
        if self._folder is None:
            return
        if not self._folder.is_dir():
            raise LoadRefused(f"RICEFISH_MODEL_REPOSITORY is {self._folder}, which is no folder")
        for name in self._names():
            try:
                self.load(name)
            except LoadRefused as error:
                logs.event("plain_model_refused", level=logging.WARNING, model=name, error=error)

    def end_runs(self) -> None:
        """Ends what is computed, and from now on each run as soon as it is begun: who waits is told."""
        self._threads.end_runs()

    def close(self) -> None:
        """Ends the requests under way and those that wait."""
        self._threads.close()

    def find(self, name: str, version: str | None = None) -> PlainModel:
        """The model of that name and version; None: the highest. Raises UnknownModel."""
        state = self._states.get(name)
        if state is None:
            raise UnknownModel(name, version)
        if version is None:
            for model in state.versions.values():
                return model
            raise UnknownModel(name, unloaded=True)
        if version not in state.versions:
            raise UnknownModel(name, version)
        return state.versions[version]

    def served(self) -> tuple[PlainModel, ...]:
        """All that are loaded, by name."""
        return tuple(model for _, state in sorted(self._states.items()) for model in state.versions.values())

    def states(self) -> Mapping[str, RepositoryState]:
        """All that lie in the folder, and all that were loaded from it, by name."""
        names = self._names() if self._folder is not None else ()
        return {**{name: RepositoryState(reason="not loaded") for name in names}, **self._states}

    def load(self, name: str, *, config: str | None = None) -> None:
        """Reads a model's folder anew, with a configuration in JSON instead of its file where one is given.

        Raises LoadRefused; what was loaded before is served on then.
        """
        with self._changing:
            try:
                if self._folder is None or name not in self._names():
                    raise LoadRefused(f"failed to load '{name}', there is no such folder in the model repository")
                state = RepositoryState(self._loaded(self._folder / name, config))
            except (RuntimeRefused, ConfigRefused, ConfigTextError, OSError, UnicodeDecodeError) as error:
                if not self._states.get(name, RepositoryState()).versions:
                    self._states[name] = RepositoryState(reason=str(error))
                raise LoadRefused(f"failed to load '{name}', {error}") from error
            self._states[name] = state
        logs.event("plain_model_loaded", model=name, versions=",".join(state.versions))

    def unload(self, name: str) -> None:
        """Serves it no longer. Raises LoadRefused if it was not loaded."""
        with self._changing:
            if name not in self._states:
                raise LoadRefused(f"failed to unload '{name}', it is not loaded")
            self._states[name] = RepositoryState(reason="unloaded")
        logs.event("plain_model_unloaded", model=name)

    def _names(self) -> list[str]:
        assert self._folder is not None  # noqa: S101 - asked before
        return sorted(folder.name for folder in self._folder.iterdir() if folder.is_dir() and _model_files(folder))

    def _loaded(self, folder: Path, config: str | None) -> Mapping[str, PlainModel]:
        written = parse_json(config) if config is not None else _written(folder)
        versions = {}
        for version, file in sorted(_model_files(folder).items(), key=lambda item: int(item[0]), reverse=True):
            runtime = PlainRuntime.open(file, device=self._device, threads=self._session_threads)
            versions[version] = PlainModel(
                folder.name,
                version,
                runtime=runtime,
                config=ModelConfig.of(runtime, written, name=folder.name),
                threads=self._threads,
                statistics=self._statistics.of(folder.name, version),
                most_waiting=self._most_waiting,
            )
        return MappingProxyType(versions)


def _model_files(folder: Path) -> dict[str, Path]:
    """The file of each version."""
    found = {file.parent.name: file for file in folder.glob(f"*/{MODEL_FILE}") if file.parent.name.isdecimal()}
    alone = folder / MODEL_FILE
    return found or ({_ONLY_VERSION: alone} if alone.is_file() else {})


def _written(folder: Path) -> Message:
    file = folder / CONFIG_FILE
    try:
        return parse(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ConfigTextError as error:
        raise ConfigTextError(f"{file}: {error}") from None
