"""Champion: the version of a registered model that servers follow, and how it is moved, by whichever half of Ricefish.

What is written of a move is decided here alone, over the few calls of MLflow's client that it takes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

CANDIDATE = "candidate"
CHAMPION = "champion"
"""Aliases: the version that was registered last, and the one that is served."""
EVALUATION_FILE = "evaluate.json"
"""What `evaluate` measured of a version, among the files of the run in the tag EVALUATION_RUN."""

EVALUATION_RUN = "evaluation_run"
PROMOTED_AT, PROMOTED_BY = "promoted_at", "promoted_by"
PROMOTION = "promotion"
"""What the gate said when the version became champion: a Said."""
FORCED_BECAUSE = "forced_because"
ROLLED_BACK_AT, ROLLED_BACK_BY = "rolled_back_at", "rolled_back_by"
HISTORY = "champion_history"
"""Tag of the registered model: numbers of the versions that were champion before, in JSON, the latest last."""

Said = Literal["passed", "first", "forced"]
_OF_A_MOVE = (PROMOTED_BY, FORCED_BECAUSE, ROLLED_BACK_AT, ROLLED_BACK_BY)
"""Tags that the last move of a version leaves, where it has something to say."""
_HISTORY_LENGTH = 100


class RegistryClient(Protocol):
    """What is asked of MLflow's client."""

    def set_registered_model_alias(self, name: str, alias: str, version: str, /) -> None:
        """Points an alias at a version."""

    def set_registered_model_tag(self, name: str, key: str, value: str, /) -> None:
        """Sets a tag of a model."""

    def set_model_version_tag(self, name: str, version: str, key: str, value: str, /) -> None:
        """Sets a tag of a version."""

    def delete_model_version_tag(self, name: str, version: str, key: str, /) -> None:
        """Removes a tag of a version."""


def evaluation_folder(number: int) -> str:
    """Where a run keeps the evaluation of the version of that number."""
    return f"evaluation/{number}"


def history(tags: Mapping[str, str]) -> list[int]:
    """Numbers of the versions that were champion before, the latest last, by the tags of a registered model."""
    return [int(number) for number in json.loads(tags.get(HISTORY, "[]"))]


def earlier(numbers: Sequence[int], *, champion: int, existing: Collection[int]) -> list[int]:
    """Those of a history that can be gone back to, the latest last."""
    return [number for number in numbers if number in existing and number != champion]


def move(
    client: RegistryClient,
    name: str,
    number: int,
    *,
    before: int | None,
    history: Sequence[int],
    present: Collection[str],
    said: Said,
    forced_because: str = "",
    by: str = "",
) -> None:
    """Makes a version the champion instead of `before`, which is remembered as the latest of its `history`.

    `present` are the names of the tags that the version has; `by` is who wants it, "" where nobody says. What an
    earlier promotion of the same version left, and no longer holds, is removed. The alias moves last.
    """
    if before is not None and before != number:
        _remember(client, name, [*history, before])
    noted = {PROMOTED_AT: _now(), PROMOTION: said, PROMOTED_BY: by, FORCED_BECAUSE: forced_because}
    for key, value in noted.items():
        if value:
            client.set_model_version_tag(name, str(number), key, value)
    for key in _OF_A_MOVE:
        if key in present and not noted.get(key):
            client.delete_model_version_tag(name, str(number), key)
    client.set_registered_model_alias(name, CHAMPION, str(number))


def move_back(client: RegistryClient, name: str, *, champion: int, earlier: Sequence[int], by: str = "") -> None:
    """Makes the latest of `earlier` the champion again instead of `champion`, and forgets it there."""
    client.set_model_version_tag(name, str(champion), ROLLED_BACK_AT, _now())
    if by:
        client.set_model_version_tag(name, str(champion), ROLLED_BACK_BY, by)
    client.set_registered_model_alias(name, CHAMPION, str(earlier[-1]))
    _remember(client, name, earlier[:-1])


def _remember(client: RegistryClient, name: str, numbers: Sequence[int]) -> None:
    client.set_registered_model_tag(name, HISTORY, json.dumps([*numbers][-_HISTORY_LENGTH:]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
