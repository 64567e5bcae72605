"""Errors: why a call of the protocol is not answered, in Triton's words where its clients look at them."""

from __future__ import annotations


class InferenceRefused(ValueError):
    """A request that cannot be understood or answered; the message says what would be right."""


class UnknownModel(LookupError):
    """No such model, or no such version of it, is there to be asked."""

    def __init__(self, name: str, version: str | None = None, *, unloaded: bool = False) -> None:
        which = f"'{name}'" if version is None else f"'{name}' version {version}"
        what = "has no available versions" if unloaded else "is not found"
        super().__init__(f"Request for unknown model: {which} {what}")


class NotOffered(NotImplementedError):
    """An extension of the protocol that this server does not have."""


class RunTooLong(RuntimeError):
    """A plain model that was ended before it had answered."""


class BodyTooSlow(RuntimeError):
    """A body that holds the server's memory and brings less than it has to."""


class RegionRefused(ValueError):
    """Shared memory that cannot be registered, or is not; the message names the region."""


class LoadRefused(ValueError):
    """A model that was not loaded or unloaded; the message says why."""
