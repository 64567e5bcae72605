"""Keys: who may use the server. A key is rf_ID_SECRET; the database holds the id and the hash of the secret.

A plain SHA-256 is enough, and fast: the secret is 256 random bits, which nobody finds by trying, unlike a password.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from serving.auth.identity import SCOPES, Identity
from serving.storage.database import Database
from serving.storage.tables import api_keys, marks, scans

_PREFIX = "rf"
_ID_BYTES = 6
_SECRET_BYTES = 32
_LONGEST_OWNER = 200
_MARK = "keys"
_HOUR_SECONDS = 3600.0
_GREATEST_LIMITS = {"expires_seconds": 3.2e9, "requests_per_minute": 1_000_000_000, "bytes_per_day": 1 << 60}
"""Of what a key may be limited to: a hundred years, and what the columns hold."""


class KeyRefused(ValueError):
    """A key that cannot be made as it was asked for."""


class KeyNotFound(LookupError):
    """No key has an id that begins so, or several have."""

    def __init__(self, beginning: str, *, several: Sequence[str] = ()) -> None:
        found = f"{len(several)} keys have an id that begins with {beginning!r}: {', '.join(several)}; give more of it"
        none = f"no key has an id that begins with {beginning!r}; `ricefish keys list` shows all of them"
        super().__init__(found if several else none)


@dataclass(frozen=True)
class Key:
    """What is known of a key. Times are seconds since 1970."""

    id: str
    hash: str
    """SHA-256 of the secret, in hexadecimal digits."""
    identity: Identity
    created: float
    expires: float | None
    revoked: float | None
    last_used: float | None
    """To the hour."""
    requests_per_minute: int | None
    """None: as many as come."""
    bytes_per_day: int | None
    """That may be sent from one midnight (UTC) to the next; None: as many as come."""
    day: int
    """Days since 1970, that `bytes` are of."""
    bytes: int
    valid: bool
    """Neither expired nor revoked, by the database's clock, when it was read."""


class Keys:
    """The table of keys. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        owner: str,
        scopes: Collection[str],
        reviews: Collection[str] = (),
        expires_seconds: float | None = None,
        requests_per_minute: int | None = None,
        bytes_per_day: int | None = None,
    ) -> str:
        """Makes a key, valid for so long; gives it, which nothing can do again. Raises KeyRefused.

        With the scope review it reviews its owner's scans, and those of the owners `reviews`, EVERY_OWNER for all.
        """
        _check(owner, scopes)
        _check_reviews(reviews, scopes)
        _check_limits(
            expires_seconds=expires_seconds, requests_per_minute=requests_per_minute, bytes_per_day=bytes_per_day
        )
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        now = self._database.now
        row = {
            "id": key_id,
            "hash": hash_of(secret.encode()),
            "owner": owner,
            "scopes": " ".join(scope for scope in SCOPES if scope in scopes),
            "reviews": json.dumps(sorted(set(reviews))) if reviews else None,
            "created": now,
            "expires": None if expires_seconds is None else now + expires_seconds,
            "requests_per_minute": requests_per_minute,
            "bytes_per_day": bytes_per_day,
        }
        self.mark()
        with self._database.writing() as connection:
            connection.execute(insert(api_keys).values(row))
        return f"{_PREFIX}_{key_id}_{secret}"

    def all(self) -> list[Key]:
        """All keys that ever were, the newest last."""
        now = self._database.now
        unexpired = or_(api_keys.c.expires.is_(None), api_keys.c.expires > now)
        valid = and_(api_keys.c.revoked.is_(None), unexpired).label("valid")
        with self._database.reading() as connection:
            rows = connection.execute(select(api_keys, valid).order_by(api_keys.c.created, api_keys.c.id))
            return [_key(row) for row in rows]

    def exist(self) -> bool:
        """True once there was a key, be it expired or revoked by now."""
        with self._database.reading() as connection:
            return connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def mark(self) -> None:
        """Writes down, beside the table of keys, that there is one."""
        if not self._marked():
            with suppress(IntegrityError), self._database.writing() as connection:  # another process may have
                connection.execute(insert(marks).values(name=_MARK, since=self._database.now))

    def lost(self, *, scans_stored: Callable[[], bool], uploads_owned: Callable[[], bool]) -> str | None:
        """Where there is no key: by what is known that there was one, or that all else was lost with it; else None."""
        if self._marked():
            return "there was an API key, and none is left"
        owned = select(scans.c.id).where(scans.c.key_owner.is_not(None)).limit(1)
        with self._database.reading() as connection:
            if connection.execute(owned).first() is not None:
                return "scans were posted with API keys, and no key is left"
            if connection.execute(select(scans.c.id).limit(1)).first() is None and scans_stored():
                return "the store holds scans that the database knows nothing of"
        if uploads_owned():
            return "resumable uploads were begun with API keys, and no key is left"
        return None

    def _marked(self) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(marks.c.name).where(marks.c.name == _MARK)).first() is not None

    def revoke(self, beginning: str) -> str:
        """Ends the one key whose id begins so, and gives its id; one that was revoked before stays so.

        Raises KeyNotFound where no id does, or several do.
        """
        found = [key.id for key in self.all() if key.id.startswith(beginning)] if beginning else []
        if len(found) != 1:
            raise KeyNotFound(beginning, several=found)
        revoked = {"revoked": case((api_keys.c.revoked.is_(None), self._database.now), else_=api_keys.c.revoked)}
        with self._database.writing() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == found[0]).values(revoked))
        return found[0]

    def used(self, key_id: str) -> None:
        """Writes down that a key is in use, once an hour."""
        due = or_(api_keys.c.last_used.is_(None), api_keys.c.last_used < self._database.now - _HOUR_SECONDS)
        with self._database.writing() as connection:
            connection.execute(
                update(api_keys).where(api_keys.c.id == key_id, due).values(last_used=self._database.now)
            )

    def add_bytes(self, key_id: str, day: int, size: int) -> int:
        """Counts bytes of a day (since 1970); gives how many were counted on it by now, by all processes."""
        before = case((api_keys.c.day == day, api_keys.c.bytes), else_=0)
        counted = update(api_keys).where(api_keys.c.id == key_id).values(day=day, bytes=before + size)
        with self._database.writing() as connection:
            return connection.scalar(counted.returning(api_keys.c.bytes)) or 0


def hash_of(secret: bytes) -> str:
    """What the database holds of a secret."""
    return hashlib.sha256(secret).hexdigest()


def split(presented: bytes) -> tuple[str, bytes]:
    """Id and secret of a key as it was presented; the secret is empty where that is no key."""
    prefix, _, rest = presented.partition(b"_")
    key_id, _, secret = rest.partition(b"_")
    return key_id.decode("latin-1"), secret if prefix == _PREFIX.encode() else b""


def _check_limits(**limits: float | None) -> None:
    for name, limit in limits.items():
        most = _GREATEST_LIMITS[name]
        if limit is not None and not 0 < limit <= most:
            raise KeyRefused(f"{name} is {limit:g}; expected a number of more than 0 and at most {most:g}, or none")


def _check_reviews(reviews: Collection[str], scopes: Collection[str]) -> None:
    if reviews and "review" not in scopes:
        raise KeyRefused(f"the key may review scans of {', '.join(sorted(reviews))}, but has not the scope review")
    for owner in reviews:
        _check_owner(owner)


def _check_owner(owner: str) -> None:
    if not owner.strip() or len(owner) > _LONGEST_OWNER or re.search(r"[\x00-\x1f\x7f]", owner):
        raise KeyRefused(f"the owner is {owner!r}; give a name of at most {_LONGEST_OWNER} printable characters")


def _check(owner: str, scopes: Collection[str]) -> None:
    _check_owner(owner)
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        found = repr(unknown[0]) if unknown else "missing"
        raise KeyRefused(f"the scope is {found}; give one or more of {', '.join(SCOPES)}")


def _key(row: Row[Any]) -> Key:
    scopes = frozenset(scope for scope in SCOPES if scope in row.scopes.split())
    return Key(
        id=row.id,
        hash=row.hash,
        identity=Identity(row.owner, scopes, row.id, reviews=frozenset(json.loads(row.reviews or "[]"))),
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
        last_used=row.last_used,
        requests_per_minute=row.requests_per_minute,
        bytes_per_day=row.bytes_per_day,
        day=row.day,
        bytes=row.bytes,
        valid=bool(row.valid),
    )
