"""ScanStatus: what a server says of a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class ScanStatus:
    """How far a scan is."""

    id: str
    state: State
    slices_done: int
    slices_total: int
    slices_per_second: float | None
    eta_seconds: float | None
    error: str | None
    model: str
    """Name and, from a registry, version."""
    warnings: tuple[str, ...] = ()
    """How the scan is unlike what the model has seen, a sentence each."""
    notes: tuple[str, ...] = ()
    """What to know of how the file was read, a sentence each."""
    filename: str = ""
    """That it was sent under."""
    content: dict[str, object] = field(default_factory=dict, repr=False, compare=False)
    """All that the server says of it, as JSON has it."""

    @property
    def ended(self) -> bool:
        """True once the state no longer changes."""
        return self.state in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ScanStatus:
        """From the answer of `GET /v1/scans/ID`, or an element of `scans` in that of `GET /v1/scans`."""
        model = content["model"]
        return cls(
            id=content["id"],
            state=content["state"],
            slices_done=content["slices_done"],
            slices_total=content["slices_total"],
            slices_per_second=content["slices_per_second"],
            eta_seconds=content["eta_seconds"],
            error=content["error"],
            model=f"{model['name']} {model['version'] or ''}".strip(),
            warnings=tuple(_sentence(warning) for warning in content.get("warnings", ())),
            notes=tuple(content.get("notes", ())),
            filename=content["filename"],
            content=content,
        )


def _sentence(warning: dict[str, str]) -> str:
    return f"{warning['message']} ({warning['found']}; expected: {warning['expected']})"
