"""Every setting of the server: an environment variable RICEFISH_NAME, or an option of `ricefish serve`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RICEFISH_"

NOT_THE_SERVERS = frozenset({"RICEFISH_SERVER", "RICEFISH_TEST_DATA"})
"""Variables of the same prefix that the client and the tests read, and the server leaves alone."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and says what would be right."""


class Settings(BaseSettings):
    """What `create_app` is given. Built with `read_settings`, which refuses unknown variables by name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    """The model to serve: a folder with model.onnx and manifest.json, models:/NAME@ALIAS or models:/NAME/VERSION."""
    host: str = "127.0.0.1"
    """Address to listen on. There are no keys yet: leave it on loopback unless the network is trusted."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which is printed."""
    store: Path = Path("store")
    """Folder of scans, segmentations and, unless `database_url` is set, of the jobs' database."""
    database_url: str | None = None
    """Database of the jobs, such as sqlite:////var/lib/ricefish/jobs.sqlite; default: jobs.sqlite in the store."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where the model runs. `cuda` refuses to start without a GPU; `auto` falls back to the CPU and says so."""
    threads: int = Field(default=0, ge=0)
    """Threads of one inference on the CPU; 0: one per core."""
    slab_slices: int = Field(default=16, ge=1)
    """Slices read, segmented and written as one durable step: memory, and work lost at most when killed."""
    batch_size: int = Field(default=4, ge=1)
    """Slices that go through the model at once."""
    upload_limit_bytes: int | None = Field(default=None, ge=1)
    """Largest accepted scan in bytes, packed or unpacked; None: what the disk holds."""
    upload_timeout_seconds: float = Field(default=120.0, gt=0)
    """An upload that sends nothing for this long is dropped."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of what is logged to stderr."""

    @field_validator("store")
    @classmethod
    def _absolute(cls, store: Path) -> Path:
        return store.expanduser().absolute()


def read_settings(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Settings from the environment, overridden by what is given and not None.

    Raises SettingsError for an unknown RICEFISH_ variable and for a value that does not fit, naming the variable.
    """
    names = os.environ if environment is None else environment
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in known | NOT_THE_SERVERS:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting of this server; {hint}")
    try:
        return Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_reason(dict(e)) for e in error.errors())) from None


def _reason(error: dict[str, Any]) -> str:
    field = str(error["loc"][0]) if error["loc"] else "settings"
    if error["type"] == "missing":
        return f"{PREFIX}{field.upper()} (--{field.replace('_', '-')}) is not set; it is needed"
    return f"{PREFIX}{field.upper()} is {error['input']!r}: {error['msg']}"
