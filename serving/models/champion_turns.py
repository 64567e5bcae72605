"""Champion turns: one at a time moves the champion of a model, over all servers that share a database.

The registry itself has no word for "unless it has moved": so whoever moves an alias is alone while he looks and moves.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from serving.storage.database import Database
from serving.storage.tables import champion_turns

_TURN_SECONDS = 600.0
"""More than the few requests of a move take where the registry is slow; a server that dies in one gives up its turn."""


class TurnTaken(RuntimeError):
    """Somebody else moves the champion at this moment; the message says who."""


class ChampionTurns:
    """The table of turns. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def taken(self, model: str, *, by: str) -> Iterator[None]:
        """Nobody else has the turn of this model until the context ends. Raises TurnTaken, SQLAlchemyError."""
        turn, now = secrets.token_hex(16), self._database.now
        row = {"model": model, "turn": turn, "mover": by, "until": now + _TURN_SECONDS}
        try:
            with self._database.writing() as connection:
                given_up = (champion_turns.c.model == model) & (champion_turns.c.until < now)
                connection.execute(delete(champion_turns).where(given_up))
                connection.execute(insert(champion_turns).values(row))
        except IntegrityError:
            raise TurnTaken(f"{self._mover(model)} moves the champion of {model} at this moment") from None
        try:
            yield
        finally:
            with self._database.writing() as connection:
                connection.execute(delete(champion_turns).where(champion_turns.c.turn == turn))

    def _mover(self, model: str) -> str:
        with self._database.reading() as connection:
            mover = connection.scalar(select(champion_turns.c.mover).where(champion_turns.c.model == model))
        return mover or "somebody else"
