"""Champions: moving the champion of a registered model for somebody, where the gate lets it, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scans.registry.champion import (
    CHAMPION,
    PROMOTED_AT,
    PROMOTED_BY,
    Said,
    earlier,
    history,
    move,
    move_back,
)
from scans.registry.version_files import difference
from serving.models.champion_turns import ChampionTurns, TurnTaken
from serving.models.registry import (
    ListedVersion,
    RegisteredVersion,
    RegistryError,
    connected,
    download_version,
    list_versions,
)
from serving.models.weighing import Weighed, at, weigh
from serving.observability import logs
from serving.storage.database import Database


class GateRefused(ValueError):
    """The gate says no; the message says why, and `weighed` which organ loses what."""

    def __init__(self, weighed: Weighed) -> None:
        super().__init__("; ".join(weighed.failures))
        self.weighed = weighed


class ChampionMoved(RuntimeError):
    """The champion is another than whoever asks has seen, or is being moved; nothing was changed."""


class NotPromotable(RuntimeError):
    """A version that cannot become champion, whatever the gate says; the message says why."""


@dataclass(frozen=True)
class SeenChampion:
    """The champion that whoever asks has looked at."""

    number: int | None
    """None: there was none."""


@dataclass(frozen=True)
class Promoted:
    """A champion that has moved."""

    weighed: Weighed
    """What it was, and what the gate said."""
    said: Said
    by: str


@dataclass(frozen=True)
class RolledBack:
    """A champion that has moved back."""

    was: int
    now: int
    by: str


class Champions:
    """Moves champions. Safe to use from several threads, and in several servers that share a database."""

    def __init__(self, database: Database, *, told: Callable[[str, str], bool]) -> None:
        """`told(name, alias)` is called once for each champion that was moved here."""
        self._turns = ChampionTurns(database)
        self._told = told

    def promote(
        self, name: str, number: int | None, *, by: str, seen: SeenChampion | None = None, force: str = ""
    ) -> Promoted:
        """Makes a version, else the candidate, the champion where the gate says yes, or where `force` gives a reason.

        `by` and the reason are noted with the version. Where `seen` is given, the champion must be that one. Raises
        GateRefused, ChampionMoved, NotPromotable, VersionUnknown, RegistryError, RegistryUnreachable, SQLAlchemyError.
        """
        weighed = weigh(name, number)
        _check_seen(name, weighed.champion, seen)
        if weighed.is_champion:
            raise NotPromotable(_already(name, weighed.version))
        if weighed.failures and not force:
            raise GateRefused(weighed)
        _check_files(name, weighed.version)
        before = None if weighed.champion is None else weighed.champion.number
        said: Said = "forced" if weighed.failures else "first" if before is None else "passed"
        with _alone(self._turns, name, by=by):
            version = _still(name, weighed)
            with connected(f"moves no alias of {name}") as (client, _):
                move(
                    client,
                    name,
                    version.number,
                    before=before,
                    history=history(client.get_registered_model(name).tags),
                    present=version.tags,
                    said=said,
                    forced_because=force if weighed.failures else "",
                    by=by,
                )
        logs.event("champion_moved", model=name, version=version.number, before=before or "-", said=said, by=by)
        self._told(name, CHAMPION)
        return Promoted(weighed, said, by)

    def rollback(self, name: str, *, by: str, seen: SeenChampion | None = None) -> RolledBack:
        """Makes the version that was champion before the champion again. Raises as `promote`, but GateRefused."""
        versions = list_versions(name)
        champion, numbers = _way_back(name, versions)
        _check_seen(name, champion, seen)
        _check_files(name, next(one for one in versions if one.number == numbers[-1]))
        with _alone(self._turns, name, by=by):
            now, still = _way_back(name, list_versions(name))
            if (now.number, still) != (champion.number, numbers):
                raise ChampionMoved(_moved(name, now))
            with connected(f"moves no alias of {name}") as (client, _):
                move_back(client, name, champion=champion.number, earlier=numbers, by=by)
        logs.event("champion_moved_back", model=name, version=numbers[-1], before=champion.number, by=by)
        self._told(name, CHAMPION)
        return RolledBack(was=champion.number, now=numbers[-1], by=by)


def before_champion(name: str, versions: Sequence[ListedVersion]) -> int | None:
    """The version that `rollback` would go back to; None where there is none. Raises RegistryError."""
    try:
        return _way_back(name, versions)[1][-1]
    except NotPromotable:
        return None


def _way_back(name: str, versions: Sequence[ListedVersion]) -> tuple[ListedVersion, list[int]]:
    """The champion, and those before it that there still are, the latest last. Raises NotPromotable without any."""
    champion = at(versions, CHAMPION)
    if champion is None:
        raise NotPromotable(f"{name} has no champion to roll back from")
    with connected() as (client, _):
        known = history(client.get_registered_model(name).tags)
    numbers = earlier(known, champion=champion.number, existing=[one.number for one in versions])
    if not numbers:
        raise NotPromotable(f"{name} version {champion.number} is the first champion; there is none to go back to")
    return champion, numbers


@contextmanager
def _alone(turns: ChampionTurns, name: str, *, by: str) -> Iterator[None]:
    try:
        with turns.taken(name, by=by):
            yield
    except TurnTaken as error:
        raise ChampionMoved(f"{error}; nothing was changed, look again") from None


def _still(name: str, weighed: Weighed) -> ListedVersion:
    """The version as it is now. Raises ChampionMoved where the champion is not the one that it was weighed against."""
    versions = list_versions(name)
    champion = at(versions, CHAMPION)
    version = next((one for one in versions if one.number == weighed.version.number), None)
    if champion is not None and version is not None and champion.number == version.number:
        raise NotPromotable(_already(name, champion))
    if version is None or _number(champion) != _number(weighed.champion):
        raise ChampionMoved(_moved(name, champion))
    return version


def _check_seen(name: str, champion: ListedVersion | None, seen: SeenChampion | None) -> None:
    if seen is not None and seen.number != _number(champion):
        raise ChampionMoved(_moved(name, champion))


def _check_files(name: str, version: ListedVersion) -> None:
    """Fetches a version and compares it with its hashes. Raises NotPromotable."""
    registered = RegisteredVersion(name, str(version.number), version.created_ms)
    try:
        with TemporaryDirectory() as temporary:
            wrong = difference(download_version(registered, into=Path(temporary)), version.tags)
    except RegistryError as error:
        raise NotPromotable(str(error)) from error
    if wrong is not None:
        raise NotPromotable(
            f"the files of version {version.number} of {name} are not what was registered: {wrong}. Put them back, or "
            f"register the model anew (`dvc repro register`)"
        )


def _number(version: ListedVersion | None) -> int | None:
    return None if version is None else version.number


def _moved(name: str, champion: ListedVersion | None) -> str:
    if champion is None:
        return f"{name} has no champion by now; nothing was changed, look again"
    return (
        f"the champion of {name} is version {champion.number} by now{_since(champion)}; nothing was changed, look again"
    )


def _already(name: str, champion: ListedVersion) -> str:
    return f"{name} version {champion.number} is the champion already{_since(champion)}"


def _since(champion: ListedVersion) -> str:
    at_, by = champion.tags.get(PROMOTED_AT), champion.tags.get(PROMOTED_BY)
    return (f", since {at_}" if at_ else "") + (f", by {by}" if by else "")
