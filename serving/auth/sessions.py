"""Sessions: a browser that has shown a key once, and is known by a cookie from then on.

A session is worth what its key is worth: it has the key's identity and allowance, and ends with it. The cookie holds
256 random bits, the database their hash; a page proves by a token made of them that it, and no other page, asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from serving.storage.database import Database
from serving.storage.tables import sessions

COOKIE = "ricefish_session"
CSRF_HEADER = "x-csrf-token"
SESSION_SECONDS = 12 * 3600.0
"""A working day; then the key is asked for again."""
_FRESH_SECONDS = 2.0
"""A session that was ended in another process counts here for so long."""
_MOST_REMEMBERED = 1024
_TOKEN_BYTES = 32
_LONGEST_TOKEN = 200
_CSRF = b"ricefish csrf"


class ForgedRequest(PermissionError):
    """A request that a session's cookie came with, and not the token of its page."""

    def __init__(self) -> None:
        super().__init__(
            "a request that changes something needs the page's token in X-CSRF-Token; load the page again, or show an "
            "API key instead"
        )


@dataclass(frozen=True)
class Session:
    """What is known of a session."""

    token: str
    """As the cookie holds it: a secret."""
    key_id: str

    @property
    def csrf(self) -> str:
        """What a page of this session shows to prove that it is one."""
        return hmac.new(self.token.encode(), _CSRF, hashlib.sha256).hexdigest()

    def check(self, shown: str | None) -> None:
        """Raises ForgedRequest unless this is its `csrf`."""
        if not hmac.compare_digest((shown or "").encode(), self.csrf.encode()):
            raise ForgedRequest


class Sessions:
    """The table of sessions. For one event loop."""

    def __init__(self, database: Database, *, seconds: float = SESSION_SECONDS) -> None:
        """A session ends after so many seconds."""
        self._database = database
        self._seconds = seconds
        self._found: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def begin(self, key_id: str) -> Session:
        """A new session of this key. Raises SQLAlchemyError."""
        session = Session(secrets.token_urlsafe(_TOKEN_BYTES), key_id)
        now = self._database.now
        row = {"hash": _hash(session.token), "key_id": key_id, "created": now, "expires": now + self._seconds}
        with self._database.writing() as connection:
            connection.execute(insert(sessions).values(row))
        return session

    async def find(self, token: str) -> Session | None:
        """The session of this cookie; None where there is none, or none any more. Raises SQLAlchemyError."""
        if not token or len(token) > _LONGEST_TOKEN:
            return None
        hashed = _hash(token)
        until, key_id = self._found.get(hashed, (0.0, ""))
        if until <= time.monotonic():
            found = await asyncio.to_thread(self._key_of, hashed)
            if found is None:
                self._found.pop(hashed, None)
                return None
            key_id = found
            self._found[hashed] = (time.monotonic() + _FRESH_SECONDS, key_id)
            self._found.move_to_end(hashed)
            while len(self._found) > _MOST_REMEMBERED:
                self._found.popitem(last=False)
        return Session(token, key_id)

    def end(self, session: Session) -> None:
        """Ends it, here at once. Raises SQLAlchemyError."""
        hashed = _hash(session.token)
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == hashed))
        self._found.pop(hashed, None)

    def sweep(self) -> None:
        """Forgets those that have expired. Raises SQLAlchemyError."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires <= self._database.now))

    def _key_of(self, hashed: str) -> str | None:
        query = select(sessions.c.key_id).where(sessions.c.hash == hashed, sessions.c.expires > self._database.now)
        with self._database.reading() as connection:
            return connection.scalar(query)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
