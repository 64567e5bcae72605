"""Weighing: what the gate says of making a registered version the champion, by the scores that are stored with it.

A server runs no validation volumes: models that were validated on other data than each other it cannot compare, and
says where that can be done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scans.measures.metrics import VolumeScores
from scans.model.manifest import MANIFEST_FILE, ManifestError, ModelManifest
from scans.organs import OrganMap
from scans.registry.champion import CANDIDATE, CHAMPION, EVALUATION_FILE, EVALUATION_RUN, evaluation_folder
from scans.registry.gate import GateError, GateLimits, Verdict, judge, volume_scores
from scans.registry.shadow_tag import found_beside
from serving.models.registry import SCHEME, ListedVersion, RegistryError, connected, fetch, list_versions


class VersionUnknown(LookupError):
    """A version that the registry has not; the message says which it has."""


@dataclass(frozen=True)
class Weighed:
    """A version beside the champion."""

    name: str
    version: ListedVersion
    champion: ListedVersion | None
    """None: there is none."""
    verdict: Verdict | None
    """None where the version is the champion already, or there was no way to tell."""
    failures: tuple[str, ...]
    """Why the gate says no."""
    shadow: str | None
    """What servers found where it ran beside the champion, in one line; None where it did not. It decides nothing."""

    @property
    def is_champion(self) -> bool:
        """True where there is nothing to move."""
        return self.champion is not None and self.champion.number == self.version.number

    @property
    def passed(self) -> bool:
        """True where the gate lets it become champion."""
        return not self.failures and not self.is_champion


def weigh(name: str, number: int | None = None) -> Weighed:
    """A version, else the candidate, beside the champion.

    Raises VersionUnknown, RegistryError where there is no such model, RegistryUnreachable.
    """
    versions = list_versions(name)
    version, champion = _chosen(name, versions, number), at(versions, CHAMPION)
    verdict: Verdict | None = None
    failures: tuple[str, ...] = ()
    if champion is None or champion.number != version.number:
        try:
            verdict = _judged(name, version, champion)
            failures = verdict.failures
        except (GateError, ManifestError) as error:
            failures = (str(error),)
    shadow = found_beside(version.tags, name=name, champion=None if champion is None else str(champion.number))
    return Weighed(name, version, champion, verdict, failures, shadow)


def at(versions: Sequence[ListedVersion], alias: str) -> ListedVersion | None:
    """The version that an alias points at; None where it points at none."""
    return next((one for one in versions if alias in one.aliases), None)


def _chosen(name: str, versions: Sequence[ListedVersion], number: int | None) -> ListedVersion:
    numbers = ", ".join(str(one.number) for one in versions) or "none"
    if number is None:
        if (found := at(versions, CANDIDATE)) is None:
            raise VersionUnknown(f"{name} has no {CANDIDATE}; `dvc repro` registers one, or name a version: {numbers}")
        return found
    if (found := next((one for one in versions if one.number == number), None)) is None:
        raise VersionUnknown(f"{name} has no version {number}; there are {numbers}")
    return found


def _judged(name: str, version: ListedVersion, champion: ListedVersion | None) -> Verdict:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        limits = _limits(name, version)
        ours = _organs(name, version, folder / "version")
        scores = _scores(name, version, folder / "version")
        if champion is None:
            return judge(scores, None, organs=ours, limits=limits)
        theirs = _organs(name, champion, folder / "champion")
        if theirs.names != ours.names:
            raise GateError(
                f"{name} version {version.number} knows {', '.join(ours.names)}; version {champion.number} knows "
                f"{', '.join(theirs.names)}; the gate compares models of the same organs"
            )
        if version.tags.get("data_sha256", "") != champion.tags.get("data_sha256", ""):
            raise GateError(
                f"{name} version {champion.number}, the champion, was validated on other data than version "
                f"{version.number}: their stored scores cannot be compared, and a server has not the volumes; "
                f"`ricefish models promote {name} --version {version.number}` compares them where data/prepared is"
            )
        return judge(scores, _scores(name, champion, folder / "champion"), organs=ours, limits=limits)


def _limits(name: str, version: ListedVersion) -> GateLimits:
    """As they were noted when it was registered: with the version or, before that was done, with the run."""
    found = GateLimits.noted(version.tags)
    if found is None and (run := version.tags.get(EVALUATION_RUN)):
        try:
            with connected(f"does not give run {run}") as (client, _):
                found = GateLimits.noted(client.get_run(run).data.params, prefix="")
        except RegistryError:  # a run that has been removed
            found = None
    if found is None:
        raise GateError(
            f"nothing is noted of what the gate asks of {name} version {version.number}: it was registered before that "
            f"was done; `dvc repro register` notes it, and `ricefish models promote {name} --version {version.number}` "
            f"takes what params.yaml says"
        )
    return found


def _organs(name: str, version: ListedVersion, folder: Path) -> OrganMap:
    try:
        fetch(f"{SCHEME}{name}/{version.number}/{MANIFEST_FILE}", into=folder)
    except RegistryError as error:
        raise GateError(str(error)) from error
    return ModelManifest.read(folder).organs


def _scores(name: str, version: ListedVersion, folder: Path) -> Mapping[str, VolumeScores]:
    """Of a version on its validation volumes. Raises GateError where they are gone or cannot be read."""
    run = version.tags.get(EVALUATION_RUN, "")
    what = f"{name} version {version.number} has no evaluation (run {run or 'unknown'})"
    if not run:
        raise GateError(what)
    try:
        path = fetch(f"runs:/{run}/{evaluation_folder(version.number)}/{EVALUATION_FILE}", into=folder)
        evaluation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return volume_scores(evaluation["student"])
    except RegistryError as error:
        raise GateError(f"{what}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GateError(f"{what}: {EVALUATION_FILE} cannot be read: {type(error).__name__}: {error}") from error
