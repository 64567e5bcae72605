"""Authentication: whose request it is, by the key that it shows. Costs a hash; the table is read again now and then."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from serving.auth.identity import ANYONE, Identity
from serving.auth.keys import Key, Keys, hash_of, split
from serving.auth.origin import is_loopback
from serving.auth.quotas import Quotas
from serving.auth.sessions import Session, Sessions
from serving.observability import logs
from serving.observability.probes import Probe, Unanswered
from serving.observability.readiness import PATIENT_SECONDS
from serving.storage import Store

FRESH_SECONDS = 2.0
"""A key that is made, revoked or expires counts, or no longer counts, everywhere after this long."""
OUTAGE_SECONDS = 86_400.0
"""For so long after the database has last answered, the keys that it held then may still ask how the server is."""
_LIMIT_SECONDS = 2.0
"""How long the table of keys is waited for where an older one will do."""
_FAILED_SECONDS = 0.25
"""How long it counts that the table could not be read."""
_NO_HASH = "0" * 64
_NOTED_SECONDS = 3600.0


class NotAuthenticated(PermissionError):
    """No key, or one that does not count; which of these is not said."""

    def __init__(self) -> None:
        super().__init__("show a valid API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`")


class NotAllowed(PermissionError):
    """The key is good, but not for this."""


class NoKeys(RuntimeError):
    """A server that others than this machine could reach has no keys to check."""


@dataclass(frozen=True)
class _Known:
    """The table as it was at one moment."""

    until: float
    any: bool = False
    valid: dict[str, Key] = field(default_factory=dict)

    @property
    def fresh(self) -> bool:
        return time.monotonic() < self.until

    def unexpired(self) -> _Known:
        """Without those that have expired since, by this machine's clock."""
        now = time.time()
        return replace(
            self, valid={n: key for n, key in self.valid.items() if key.expires is None or key.expires > now}
        )


class Auth:
    """Finds the identity behind a key. For one event loop."""

    def __init__(self, keys: Keys, sessions: Sessions) -> None:
        self._keys = keys
        self.sessions = sessions
        self.quotas = Quotas(keys)
        self._known = _Known(until=-OUTAGE_SECONDS)
        self._table = Probe(self._read, most_age_seconds=_FAILED_SECONDS, limit_seconds=_LIMIT_SECONDS)
        self._in_outage = False
        self._noted: dict[str, float] = {}

    async def identify(self, presented: bytes | None, *, in_outage: bool = False) -> tuple[Identity, Key | None]:
        """Whose key it is, and the key; anyone while there are no keys. Raises NotAuthenticated.

        Takes as long for an unknown key as for a wrong one. Where the database does not answer, raises SQLAlchemyError
        or Unanswered; `in_outage`, and where there were no keys, its last answer counts, for OUTAGE_SECONDS, but for
        keys that expire.
        """
        known = await self._current(in_outage=in_outage)
        if not known.any:
            return ANYONE, None
        key_id, secret = split(presented or b"")
        key = known.valid.get(key_id)
        right = hmac.compare_digest(hash_of(secret), key.hash if key else _NO_HASH)
        if not right or key is None:
            raise NotAuthenticated
        return key.identity, key

    async def identify_session(self, token: str) -> tuple[Identity, Key, Session]:
        """Whose key the session of this cookie was begun with, and both. Raises NotAuthenticated, and as `identify`.

        The key has to count still.
        """
        known = await self._current(in_outage=False)
        session = await self.sessions.find(token) if known.any else None
        key = None if session is None else known.valid.get(session.key_id)
        if session is None or key is None:
            raise NotAuthenticated
        return key.identity, key, session

    async def needed(self) -> bool:
        """True where a key has to be shown. Raises as `identify`."""
        return (await self._current(in_outage=False)).any

    async def settle(self, key: Key) -> None:
        """Writes down that a key was used, once an hour, and what was sent with it. Raises SQLAlchemyError.

        Not while the database does not answer: with the next request, then.
        """
        if self._in_outage:
            return
        now = time.monotonic()
        if self._noted.get(key.id, 0.0) <= now:
            self._noted[key.id] = now + _NOTED_SECONDS
            await asyncio.to_thread(self._keys.used, key.id)
        await self.quotas.settle(key.id)

    async def _current(self, *, in_outage: bool) -> _Known:
        if self._known.fresh:
            return self._known
        try:
            known = await self._table.ask_async(limit_seconds=None if in_outage else PATIENT_SECONDS)
        except (SQLAlchemyError, Unanswered):
            self._in_outage = True
            if (in_outage or not self._known.any) and time.monotonic() < self._known.until + OUTAGE_SECONDS:
                return self._known.unexpired()
            raise
        self._in_outage = False
        if known is not self._known:
            self._known = known = replace(
                known, any=known.any or self._known.any
            )  # a table that was emptied opens nothing
            self.quotas.learn(known.valid.values())
        return known

    def _read(self) -> _Known:
        until, keys = time.monotonic() + FRESH_SECONDS, self._keys.all()
        return _Known(until, bool(keys), {key.id: key for key in keys if key.valid})


def check_exposure(host: str, keys: Keys, store: Store, *, uploads_owned: Callable[[], bool], anonymous: bool) -> None:
    """Raises NoKeys where a server without keys would listen beyond this machine, or over what was sent with some.

    Unless it is meant to.
    """
    if keys.exist():
        with suppress(SQLAlchemyError):  # a full disk, say; the next start will
            keys.mark()
        return
    beyond = None if is_loopback(host) else f"RICEFISH_HOST is {host} and there is no API key"
    lost = keys.lost(scans_stored=lambda: bool(store.scan_ids()), uploads_owned=uploads_owned)
    found = " and ".join(filter(None, (beyond, lost)))
    if not found:
        return
    if anonymous:
        logs.event("open_to_the_network", level=logging.WARNING, host=host, reason=found)
        return
    again = "Restore the database, make a key" if lost else "Make a key"
    loopback = ", listen on 127.0.0.1," if beyond and not lost else ""
    raise NoKeys(
        f"{found}: whoever reaches the port could post, read and delete. {again} for this database (`ricefish keys add "
        f"--owner NAME --scope admin`){loopback} or, where all who reach it are trusted, set RICEFISH_ANONYMOUS=true"
    )
