"""Auth: whose request it is, from the key that it shows. Costs a hash; the table is read again every few seconds."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from serving import logs
from serving.allowances import Allowances
from serving.identity import ANYONE, Identity
from serving.keys import Key, Keys, hash_of, split

FRESH_SECONDS = 2.0
"""A key that is made, revoked or expires counts, or no longer counts, everywhere after this long."""
_NO_HASH = "0" * 64
_NOTED_SECONDS = 3600.0


class NotAuthenticated(PermissionError):  # noqa: N818 - says what is wrong
    """No key, or one that does not count; which of these is not said."""

    def __init__(self) -> None:
        super().__init__("show a valid API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`")


class NotAllowed(PermissionError):  # noqa: N818 - says what is wrong
    """The key is good, but not for this."""


class NoKeys(RuntimeError):  # noqa: N818 - says what is wrong
    """A server that others than this machine could reach has no keys to check."""


@dataclass(frozen=True)
class _Known:
    """The table as it was at one moment."""

    until: float
    any: bool = False
    valid: dict[str, Key] = field(default_factory=dict)


class Auth:
    """Finds the identity behind a key. For one event loop."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.allowances = Allowances(keys)
        self._known = _Known(until=0.0)
        self._failure: tuple[float, SQLAlchemyError] | None = None
        self._reading = asyncio.Lock()
        self._noted: dict[str, float] = {}

    async def identify(self, presented: bytes | None) -> tuple[Identity, Key | None]:
        """Whose key it is, and the key; anyone while there are no keys. Raises NotAuthenticated, SQLAlchemyError.

        Takes as long for an unknown key as for a wrong one.
        """
        if time.monotonic() >= self._known.until:
            await self._refresh()
        if not self._known.any:
            return ANYONE, None
        key_id, secret = split(presented or b"")
        key = self._known.valid.get(key_id)
        right = hmac.compare_digest(hash_of(secret), key.hash if key else _NO_HASH)
        if not right or key is None:
            raise NotAuthenticated
        return key.identity, key

    async def settle(self, key: Key) -> None:
        """Writes down that a key was used, once an hour, and what was sent with it. Raises SQLAlchemyError."""
        now = time.monotonic()
        if self._noted.get(key.id, 0.0) <= now:
            self._noted[key.id] = now + _NOTED_SECONDS
            await asyncio.to_thread(self._keys.used, key.id)
        await self.allowances.settle(key.id)

    async def _refresh(self) -> None:
        async with self._reading:
            now = time.monotonic()
            if now < self._known.until:
                return
            if self._failure and now < self._failure[0]:
                raise self._failure[1]
            try:
                self._known = await asyncio.to_thread(self._read)
            except SQLAlchemyError as error:
                self._failure = (time.monotonic() + FRESH_SECONDS, error)
                raise
            self._failure = None
            self.allowances.learn(self._known.valid.values())

    def _read(self) -> _Known:
        until, keys = time.monotonic() + FRESH_SECONDS, self._keys.all()
        return _Known(until, bool(keys), {key.id: key for key in keys if key.valid})


def check_exposure(host: str, keys: Keys, *, anonymous: bool) -> None:
    """Raises NoKeys where a server without keys would listen beyond this machine, unless it is meant to."""
    if _is_loopback(host) or keys.exist():
        return
    if anonymous:
        logs.event("open_to_the_network", level=logging.WARNING, host=host, reason="there are no keys")
        return
    raise NoKeys(
        f"RICEFISH_HOST is {host} and there is no API key: whoever reaches the port could post, read and delete. "
        "Make a key for this database (`ricefish keys add --owner NAME --scope admin`), listen on 127.0.0.1, or, where "
        "the network is trusted, set RICEFISH_ANONYMOUS=true"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
