"""ModelManifest: all that a server must know of a model, in a manifest.json beside the model.onnx."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from scans.hashes import file_sha256
from scans.intensity import IntensityRule
from scans.model.drift import Seen
from scans.model.expected_dice import DiceCalibration
from scans.model.golden import (
    Golden,
    Variant,
    golden_content,
    golden_from,
    variants_content,
    variants_from,
    window_from,
)
from scans.organs import OrganMap
from scans.precision import Precision
from scans.raw.provenance import Origin
from scans.reviews import ReviewTally

__all__ = [
    "MANIFEST_FILE",
    "MODEL_FILE",
    "QUALITY_FOLDER",
    "SCHEMA_VERSION",
    "Golden",
    "Kind",
    "ManifestError",
    "ModelManifest",
    "Variant",
    "file_sha256",
]

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
QUALITY_FOLDER = "quality_classifier"
"""Of a registered version, and of a server's copy: below the model. What the pipeline makes lies beside it."""
SCHEMA_VERSION = 1

Kind = Literal["segmentation", "quality"]


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file and the field."""


@dataclass(frozen=True)
class ModelManifest:
    """What `model.onnx` is, what it was trained on, and how to check it.

    A `segmentation` model takes `slices` (float32 (N, Y, X), raw grey values) and `window` (float32 (N, 2), lower and
    upper) and gives `segmentation` (uint8 (N, Y, X)) and `confidence` (float32 (N, Y, X)). A `quality` model takes
    `slices`, `window` and `segmentation`, and gives `good` (float32 (N,), probability) and, where `expected_dice` says
    how to take it, `dice` (float32 (N, organs), that of each organ in the slice).
    """

    name: str
    kind: Kind
    organs: OrganMap
    intensity: IntensityRule
    model_sha256: str
    data_sha256: str
    """Hash of the volumes that the model was trained and validated on."""
    spacing_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Least and greatest spacing seen in training, along z, y, x."""
    intensity_range: tuple[float, float]
    """Least lower and greatest upper window end seen in training, in grey values."""
    golden: Golden
    data_set: str = ""
    """What those volumes are called together, however they grow; "": not said."""
    slice_axis: int = 0
    """The axis of (Z, Y, X) across which slices are taken."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)
    """How the ONNX file was compared with torch: slices, largest share of differing pixels."""
    threshold: float | None = None
    """A quality model's limit: a pseudo-label or a segmentation at or above it is good."""
    expected_dice: DiceCalibration | None = None
    """How a quality model's `dice` becomes an organ's expected Dice; None: it has no such output."""
    variants: Mapping[Precision, Variant] = field(default_factory=dict)
    seen: Seen | None = None
    """What the volumes of training and validation look like; None: nothing is known of it."""
    corrections: Mapping[str, Origin] = field(default_factory=dict)
    """Of those volumes, by id, the ones whose labels are corrections of what a model had answered."""
    reviews: ReviewTally | None = None
    """What people had said of pseudo-labels, and how much of it was learnt from; None: nothing was said."""
    git_commit: str = ""
    git_dirty: bool = False
    mlflow_run: str = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> Path:
        """Writes `manifest.json` into the model's folder and returns its path; raises ValueError if a metric is NaN."""
        path = folder / MANIFEST_FILE
        path.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, in types that JSON can hold."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["organs"] = self.organs.to_mapping()
        fields["intensity"] = dataclasses.asdict(self.intensity)
        fields["metrics"] = dict(self.metrics)
        fields["agreement"] = dict(self.agreement)
        fields["variants"] = variants_content(self.variants)
        fields["golden"] = golden_content(self.golden)
        fields["expected_dice"] = None if self.expected_dice is None else self.expected_dice.to_dict()
        fields["seen"] = None if self.seen is None else self.seen.to_dict()
        del fields["corrections"], fields["reviews"]  # where there is none, servers of before read the manifest too
        if self.corrections:
            fields["corrections"] = {name: dataclasses.asdict(origin) for name, origin in self.corrections.items()}
        if self.reviews is not None:
            fields["reviews"] = dataclasses.asdict(self.reviews)
        return fields

    @classmethod
    def read(cls, folder: Path) -> ModelManifest:
        """From `folder/manifest.json`. Raises ManifestError that names the file and the field at fault."""
        path = folder / MANIFEST_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ManifestError(
                f"{path} does not exist; a model folder holds {MODEL_FILE} and {MANIFEST_FILE}"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path} is not JSON: {error}") from error
        try:
            return cls.from_dict(content)
        except ManifestError as error:
            raise ManifestError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ModelManifest:
        """From what `to_dict` gave. Raises ManifestError that names the field at fault."""
        if not isinstance(content, Mapping):
            raise ManifestError(f"a manifest is a JSON object; this is {type(content).__name__}")
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise ManifestError(f"unknown field {', '.join(unknown)}")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ManifestError(f"schema_version is {content.get('schema_version')!r}; this reads {SCHEMA_VERSION}")
        required = [n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
        missing = [name for name in required if name not in content]
        if missing:
            raise ManifestError(f"field {', '.join(missing)} is missing")
        parsed: dict[str, Any] = {}
        for name, value in content.items():
            try:
                parsed[name] = _PARSERS[name](value)
            except KeyError as error:
                raise ManifestError(f"field {name}: {error} is missing") from error
            except (AttributeError, TypeError, ValueError, zlib.error) as error:
                raise ManifestError(f"field {name}: {error}") from error
        return cls(**parsed)

    @property
    def files(self) -> Mapping[str, str]:
        """Every file of the model beside the manifest, relative to its folder, with its SHA-256."""
        return {MODEL_FILE: self.model_sha256, **{variant.file: variant.sha256 for variant in self.variants.values()}}

    def verify(self, folder: Path) -> None:
        """Raises ManifestError unless every file of the model is there and has the hash that this manifest states."""
        for name, stated in self.files.items():
            try:
                found = file_sha256(folder / name)
            except FileNotFoundError:
                raise ManifestError(f"{folder / name} does not exist; the manifest beside it describes it") from None
            if found != stated:
                raise ManifestError(f"{folder / name} has SHA-256 {found}; the manifest says {stated}")


def _intensity(content: Mapping[str, Any]) -> IntensityRule:
    fixed = content["fixed"]
    return IntensityRule(
        lower_percentile=float(content["lower_percentile"]),
        upper_percentile=float(content["upper_percentile"]),
        fixed=None if fixed is None else window_from(fixed),
    )


def _exactly(kind: type) -> Callable[[Any], Any]:
    """A parser that takes a value of that type as it is, and no other."""

    def parse(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not of type {kind.__name__}")
        return value

    return parse


def _kind(value: Any) -> Kind:
    if value not in get_args(Kind):
        raise ValueError(f"{value!r}; expected {' or '.join(get_args(Kind))}")
    kind: Kind = value
    return kind


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return (float(low), float(high))


def _spacings(values: Any) -> tuple[tuple[float, float], ...]:
    z, y, x = values
    return (_pair(z), _pair(y), _pair(x))


def _numbers(content: Any) -> dict[str, float]:
    return {name: float(value) for name, value in dict(content).items()}


def _optional_number(value: Any) -> float | None:
    return None if value is None else float(value)


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "name": _exactly(str),
    "kind": _kind,
    "organs": OrganMap.from_mapping,
    "intensity": _intensity,
    "model_sha256": _exactly(str),
    "data_sha256": _exactly(str),
    "data_set": _exactly(str),
    "spacing_mm": _spacings,
    "intensity_range": _pair,
    "golden": golden_from,
    "slice_axis": _exactly(int),
    "metrics": _numbers,
    "agreement": _numbers,
    "threshold": _optional_number,
    "expected_dice": lambda content: None if content is None else DiceCalibration.from_dict(content),
    "variants": variants_from,
    "seen": lambda content: None if content is None else Seen.from_dict(content),
    "corrections": lambda content: {name: Origin(**origin) for name, origin in dict(content).items()},
    "reviews": ReviewTally.from_dict,
    "git_commit": _exactly(str),
    "git_dirty": _exactly(bool),
    "mlflow_run": _exactly(str),
    "schema_version": _exactly(int),
}
"""How each field is read; together they are the fields of ModelManifest."""
