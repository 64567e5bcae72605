"""Identity: on whose behalf something is asked for, and what that lets be seen. Handed to whoever has to decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from sqlalchemy import Column, ColumnElement, false, or_, true

from serving.observability.reasons import without_paths

Scope = Literal["segment", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""segment: post scans and use their results; review: judge slices; admin: everything, of every owner."""
ANONYMOUS = "anonymous"
"""Who judges on a server without keys."""
EVERY_OWNER = "*"
"""Stands for all owners whose scans a key may review."""


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    owner: str | None
    """The name that the key was made for; scans and uploads belong to it. None without keys."""
    scopes: frozenset[Scope]
    key_id: str | None = None
    """Of the key, which is no secret; None without keys."""
    reviews: frozenset[str] = frozenset()
    """Owners beside its own whose scans it may review, or EVERY_OWNER."""
    also: frozenset[str] = frozenset()
    """Owners beside its own whose scans are to be shown to it, for what is asked just now."""

    @property
    def admin(self) -> bool:
        """True where nothing is hidden."""
        return "admin" in self.scopes

    def shown(self, text: str) -> str:
        """A text as this identity may see it: folders of the server are the administrators' business."""
        return text if self.admin else without_paths(text)

    def may(self, *scopes: Scope) -> bool:
        """True with one of these scopes, or with admin."""
        return self.admin or not self.scopes.isdisjoint(scopes)

    def sees(self, owner: str | None) -> bool:
        """True if what belongs to this owner (None: what came without a key) is to be shown."""
        if self.admin or owner is None:
            return self.admin
        return owner == self.owner or owner in self.also or EVERY_OWNER in self.also

    def seen(self, column: Column[str]) -> ColumnElement[bool]:
        """`sees`, as a condition on a column of owners."""
        if self.admin:
            return true()
        if EVERY_OWNER in self.also:
            return column.is_not(None)
        own = false() if self.owner is None else column == self.owner
        return or_(own, column.in_(sorted(self.also))) if self.also else own

    def reviewing(self) -> Identity:
        """The same where the scans that it may review exist too: for reviews and what they show, and nothing else."""
        return replace(self, also=self.reviews) if self.may("review") else self

    @property
    def reviewer(self) -> str:
        """Whose verdicts are this identity's."""
        return ANONYMOUS if self.owner is None else self.owner

    def own_key(self, key: str) -> str:
        """An Idempotency-Key as it is stored: that of an owner is no other owner's."""
        if self.owner is None:
            return key
        return "owned " + hashlib.sha256(json.dumps([self.owner, key]).encode()).hexdigest()


ANYONE = Identity(owner=None, scopes=frozenset({"admin"}))
"""Whoever asks a server without keys, and the server itself."""
NOBODY = Identity(owner=None, scopes=frozenset())
"""Whoever asks what is answered to all."""

IDENTITY = "ricefish.identity"
"""Where in an ASGI scope the identity stands."""


def identity_of(scope: Mapping[str, Any]) -> Identity:
    """Who a request is from, as access control found it; nobody where it did not look."""
    identity: Identity = scope.get(IDENTITY, NOBODY)
    return identity
