"""Every setting of the server: an environment variable RICEFISH_NAME, or an option of `ricefish serve`."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scans.tiling import least_tile

PREFIX = "RICEFISH_"
S3_SCHEME = "s3://"
_ADDRESS = r"^https?://[^\s/]+(/\S*)?$"
_HOST = r"^([^\s/:\[\]]+|\[?[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?)$"
_WORKER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
_FORMS = {
    _ADDRESS: "expected an address that begins with http:// or https://",
    _HOST: "expected names without ports, such as fish.example.org",
    _WORKER: "expected a name of letters, digits, '.', '_' and '-', which begins with a letter or digit",
}
_ENDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
_YEAR_SECONDS, _MOST_BYTES, _MOST_COUNT = 31_557_600, 1 << 60, 1_000_000_000
"""More than anybody means: what is beyond is a slip."""

NOT_THE_SERVERS = frozenset({"RICEFISH_SERVER", "RICEFISH_API_KEY", "RICEFISH_CA", "RICEFISH_TEST_DATA"})
"""Variables of the same prefix that the client and the tests read, and the server leaves alone."""


Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], NoDecode]
"""Given as a JSON list, which `Settings` reads itself."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and says what would be right."""


class Settings(BaseSettings):
    """What `create_app` is given. Built with `read_settings`, which refuses unknown variables by name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False, env_ignore_empty=True
    )

    model: str = ""
    """The model to serve: a folder with model.onnx and manifest.json, models:/NAME@ALIAS or models:/NAME/VERSION.
    A server needs one; a worker takes those of the scans."""
    more_models: Listed[str] = ()
    """Models to serve beside it, as a JSON list of the same kinds of references."""
    follow_seconds: float = Field(default=10.0, gt=0, le=_YEAR_SECONDS)
    """How often the registry is asked which versions the aliases name that are followed."""
    webhook_secret: SecretStr | None = Field(default=None, min_length=1)
    """What the registry's webhook signs its events with; None: no events are taken, and the registry is only asked."""
    model_repository: Path | None = None
    """Folder of plain ONNX models, NAME/model.onnx or NAME/VERSION/model.onnx, which /v2 serves as they are; with it, a
    server needs no `model`."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Beyond loopback the server starts only if there are API keys, or `anonymous` is set."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which is printed."""
    anonymous: bool = False
    """Serve other machines without any key, as long as there is none: whoever reaches the port may do everything.
    Also where there were keys, or scans, of which the database knows nothing any more."""
    hosts: Listed[Annotated[str, Field(pattern=_HOST)]] = ()
    """Names without ports, as a JSON list, that a server without keys is asked by, and whose pages may ask it, beside
    its address and localhost."""
    metrics_open: bool = False
    """Answer /metrics without a key."""
    tls_certificate: Path | None = None
    """PEM file of the certificate and those it was signed with; with it the server speaks HTTPS alone."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    store: str = Field(default="store", min_length=1)
    """Where scans and segmentations are kept: a folder, which workers elsewhere mount, or s3://BUCKET/PREFIX."""
    scratch: Path | None = None
    """Folder on a local disk for what is on its way in or out; default: `scratch` in the store, if that is a folder."""
    database_url: str | None = None
    """The queue: sqlite:////PATH or postgresql://USER@HOST/NAME; default: jobs.sqlite in the store."""
    worker_id: str | None = Field(default=None, pattern=_WORKER)
    """Name of this process in the queue, different for each and the same after a restart; default: made of host and
    process number, so that what a killed process left is taken up when its lease has run out."""
    lease_seconds: float = Field(default=15.0, ge=1.0, le=_YEAR_SECONDS)
    """A process that has not renewed its lease for this long loses its scans to the others."""
    concurrent_scans: int = Field(default=2, ge=0, le=1024)
    """Scans of one priority that a process works on at once; 0: it leaves them to `ricefish worker`s."""
    attempts: int = Field(default=5, ge=1, le=1000)
    """How often a scan is begun before what might have passed counts as a failure."""
    retention_days: float | None = Field(default=None, gt=0, le=36_525)
    """Ended scans are removed after this many days; None: kept until deleted."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where the model runs. `cuda` refuses to start without a GPU; `auto` falls back to the CPU and says so."""
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    """Arithmetic of the model; `auto`: the fastest of those whose accuracy was checked when the model was exported."""
    engine: Literal["auto", "onnxruntime", "openvino"] = "auto"
    """Library that computes the model on a CPU; `auto`: the fastest of those that reproduce the golden slice."""
    threads: int = Field(default=0, ge=0, le=4096)
    """Threads of inference on the CPU; 0: found by measuring."""
    batch_size: int = Field(default=0, ge=0, le=65_536)
    """Slices that go through the model at once; 0: found by measuring."""
    tile: int | None = Field(default=None, ge=least_tile(), le=65_536)
    """Slices longer or wider than this many pixels go through the model in tiles; None: only if memory runs out. A tile
    holds the halo that the network is shown around what is kept of it, and more."""
    slab_slices: int = Field(default=32, ge=1, le=256)
    """Slices read, segmented and written as one durable step, a power of two: memory, and work lost when killed."""
    keep_uploads: bool = False
    """Keep what was sent beside the OME-Zarr that is made of it when it comes, until the scan is removed."""
    quality_limit: float | None = Field(default=None, ge=0, le=1)
    """A scan gets a warning if the Quality Classifier calls more than this share of its slices with organs bad; None:
    more than follows from the volumes that the model has seen."""
    upload_limit_bytes: int | None = Field(default=None, ge=1, le=_MOST_BYTES)
    """Largest accepted scan in bytes, packed or unpacked; None: what the disk holds."""
    voxels_per_byte: float = Field(default=1100.0, gt=0, le=1e9)
    """Voxels that a file may hold for each byte that was sent: DEFLATE, as in .nii.gz and zip, packs at most 1032 bytes
    into one, and a scan, which has noise, fewer than 10. A volume of 16 million voxels is read whatever was sent."""
    owner_voxels: int = Field(default=2_000_000_000_000, ge=1, le=_MOST_BYTES)
    """Voxels of one owner's scans that may wait or be worked on; one more large scan is refused with 429."""
    upload_timeout_seconds: float = Field(default=120.0, gt=0, le=_YEAR_SECONDS)
    """A request is dropped whose body brings less than 512 bytes a second over this long, or of whose answer nothing is
    taken for this long."""
    head_timeout_seconds: float = Field(default=20.0, gt=0, le=_YEAR_SECONDS)
    """A connection is closed on which no whole head of a request arrives for this long, or nothing at all."""
    connections: int = Field(default=1000, ge=1, le=1_000_000)
    """Connections at one time. Further ones take the place of those that wait for a request; where none does, health
    checks are answered and all else is refused with 503."""
    upload_expiry_hours: float = Field(default=48.0, gt=0, le=87_660)
    """A resumable upload that was not continued for this long is removed."""
    readers: int = Field(default=4, ge=0, le=1024)
    """Processes in which uploads are read before they are accepted, started as they are needed; 0: the server reads
    them itself, and the next two hold nothing."""
    reader_memory_bytes: int = Field(default=2_000_000_000, ge=1 << 28, le=_MOST_BYTES)
    """Memory that reading an upload may take, about three times its largest slice; more is a bad file."""
    reader_stall_seconds: float = Field(default=60.0, gt=0, le=_YEAR_SECONDS)
    """An upload of which no further slices could be read for this long is a bad file."""
    source_roots: Listed[Path] = ()
    """Folders from which `source.uri` may name files, as a JSON list."""
    source_buckets: Listed[str] = ()
    """S3 buckets from which `source.uri` may name objects, as a JSON list."""
    s3_endpoint: str | None = Field(default=None, pattern=_ADDRESS)
    """Address of an S3-compatible store; None: Amazon's. Keys come from the usual AWS_ variables."""
    drain_seconds: float = Field(default=0.0, ge=0, le=_YEAR_SECONDS)
    """A server that is told to stop goes on answering for at least so long, not ready, for balancers to notice."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port on which a worker answers /metrics, on `host`; None: on none. A server answers it on its own."""
    otlp_endpoint: str | None = Field(default=None, pattern=_ADDRESS)
    """Address of an OpenTelemetry collector that takes traces over HTTP, such as http://127.0.0.1:4318; None: none."""
    queue_scans: int = Field(default=1000, ge=1, le=_MOST_COUNT)
    """Scans that may wait, of one priority with the more urgent ones; more are refused with 429."""
    queue_bytes: int = Field(default=4_000_000_000_000, ge=1, le=_MOST_BYTES)
    """Bytes of the files of those scans."""
    queue_age_seconds: float = Field(default=86_400.0, gt=0, le=_YEAR_SECONDS)
    """More are refused, too, while one of those scans has waited for longer than this."""
    queue_slices: int = Field(default=1024, ge=1, le=_MOST_COUNT)
    """Single slices of /v2 that may wait for the device of one process; more are refused with 429."""
    queue_slice_bytes: int = Field(default=4_000_000_000, ge=1, le=_MOST_BYTES)
    """Memory that those slices may take, as they came."""
    slice_memory_bytes: int = Field(default=1_500_000_000, ge=1, le=_MOST_BYTES)
    """Memory that single slices may take while they are computed on the CPU; larger ones go in tiles, and what cannot
    is refused with 413."""
    scan_memory_bytes: int | None = Field(default=None, ge=1, le=_MOST_BYTES)
    """Memory that the batches of scans may take at once on the CPU: slices of more go in tiles; None: a quarter of the
    machine's."""
    plain_model_seconds: float = Field(default=60.0, gt=0, le=_YEAR_SECONDS)
    """That a plain model may compute for one request, or those that it computes together; then it is ended, and they
    are answered with 503."""
    shadow: str = ""
    """A model that answers nobody yet, as `model` names one: it runs on scans whose answer is out, and how far it
    agrees is recorded. Empty: none."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the scans that the shadow runs on, 0 to 1; a scan's id decides whether it is one of them."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of what is logged to stderr."""
    log_format: Literal["text", "json"] = "text"
    """How it is logged: lines of key=value, or one JSON object a line."""

    @property
    def references(self) -> tuple[str, ...]:
        """The segmentation models to serve, the default first."""
        return (*([self.model] if self.model else []), *self.more_models)

    @property
    def store_dir(self) -> Path | None:
        """The store's folder; None where it is a bucket."""
        return None if self.store.startswith(S3_SCHEME) else Path(self.store)

    @field_validator("more_models", "hosts", "source_roots", "source_buckets", mode="before")
    @classmethod
    def _from_json(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            entries = json.loads(given)
        except (ValueError, RecursionError):
            entries = None
        if not isinstance(entries, list):
            raise ValueError('expected a JSON list, such as ["one", "another"]')
        return entries

    @field_validator("store", mode="before")
    @classmethod
    def _absolute(cls, store: str | Path) -> str:
        store = str(store)
        if not store:
            return store  # which has no right length
        return store.rstrip("/") if store.startswith(S3_SCHEME) else str(Path(store).expanduser().absolute())

    @field_validator("slab_slices")
    @classmethod
    def _power_of_two(cls, slices: int) -> int:
        if slices & (slices - 1):
            raise ValueError("give a power of two, such as 16 or 32, so that every level of the pyramid is whole")
        return slices


def read_settings(environment: Mapping[str, str] | None = None, *, needs_model: bool = True, **given: Any) -> Settings:
    """Settings from the environment, overridden by what is given and not None.

    A variable that is empty counts as one that is not set. Raises SettingsError for an unknown RICEFISH_ variable and
    for a value that does not fit, naming the variable.
    """
    names = os.environ if environment is None else environment
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in known | NOT_THE_SERVERS:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting of this server; {hint}")
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_reason(e) for e in error.errors())) from None
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY belong together: set both or neither")
    if needs_model and not settings.model and settings.model_repository is None:
        raise SettingsError(f"{PREFIX}MODEL (--model) is not set; it is needed, or {PREFIX}MODEL_REPOSITORY")
    return settings


def _reason(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    expected = _FORMS.get(error.get("ctx", {}).get("pattern", ""), error["msg"])
    expected = str(error["ctx"]["error"]) if error["type"] == "value_error" else _range_of(name) or expected
    return f"{PREFIX}{name.upper()} is {error['input']!r}: {expected}"


def _range_of(name: str) -> str:
    """The range of a number, in words; "" where the setting is none."""
    stated = Settings.model_fields[name].metadata if name in Settings.model_fields else []
    ends = [f"{words} {getattr(one, end):.12g}" for end, words in _ENDS for one in stated if hasattr(one, end)]
    return f"expected a number of {' and '.join(ends)}" if ends else ""
