"""Moving the champion: the candidate's scores, the champion's on the same volumes, and what the gate says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scans.model.manifest import ModelManifest
from scans.registry.champion import CANDIDATE, CHAMPION, Said
from scans.registry.gate import GateError, GateLimits, Verdict, judge, volume_scores
from scans.registry.shadow_tag import found_beside
from training.data.prepared import PREPARED_DIR, VOLUMES_FILE, Catalogue
from training.evaluation.comparison import score_exported
from training.registry.version import Version
from training.registry.versions import ModelRegistryError, Registry


@dataclass(frozen=True)
class Promotion:
    """What became of the wish to make a version the champion."""

    version: Version
    before: Version | None
    """The champion until then; None: there was none."""
    verdict: Verdict | None
    """None where the version is the champion already, or there was no way to tell."""
    failures: tuple[str, ...]
    """Why the gate says no."""
    promoted: bool
    shadow: str | None = None
    """What servers found where it ran beside the champion, in one line; None where it did not. It decides nothing."""


def promote(registry: Registry, number: int | None, *, limits: GateLimits, force: str | None = None) -> Promotion:
    """Makes a version, else the candidate, the champion where the gate says yes, or where `force` gives a reason.

    The reason is recorded with the version. Raises ModelRegistryError where there is no such version, or where its
    files are not there or not whole: no server could serve it, whatever the reason.
    """
    registry.existing()
    version = registry.at(CANDIDATE) if number is None else registry.version(number)
    if version is None:
        raise ModelRegistryError(f"{registry.name} has no {CANDIDATE}; `dvc repro` registers one, or give --version")
    registry.check(version)
    before = registry.at(CHAMPION)
    verdict: Verdict | None = None
    failures: tuple[str, ...] = ()
    if before is None or before.number != version.number:
        try:
            verdict = weigh(registry, version, before, limits=limits)
            failures = verdict.failures
        except (GateError, ModelRegistryError) as error:
            failures = (str(error),)
    promoted = not failures or force is not None
    if promoted:
        said: Said = "forced" if failures else "first" if before is None else "passed"
        registry.promote(version, said=said, forced_because=force or "" if failures else "")
    shadow = found_beside(version.tags, name=version.name, champion=None if before is None else str(before.number))
    return Promotion(version, before, verdict, failures, promoted, shadow=shadow)


def weigh(registry: Registry, candidate: Version, champion: Version | None, *, limits: GateLimits) -> Verdict:
    """What the gate says of making `candidate` the champion instead of `champion`, or the first.

    Where the champion was validated on the same data, its stored scores are taken; else its ONNX file is run on the
    validation volumes in data/prepared, which must be those of the candidate. Raises GateError where that cannot be,
    ModelRegistryError where the candidate has no evaluation.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = ModelManifest.read(registry.fetch(candidate, folder / "candidate"))
        if champion is None:
            scores = volume_scores(registry.evaluation(candidate, folder / "candidate_scores"))
            return judge(scores, None, organs=ours.organs, limits=limits)
        theirs = registry.fetch(champion, folder / "champion")
        organs = ModelManifest.read(theirs).organs
        if organs.names != ours.organs.names:
            raise GateError(
                f"{candidate} knows {', '.join(ours.organs.names)}; "
                f"{champion} knows {', '.join(organs.names)}; the gate compares models of the same organs"
            )
        candidate_scores = volume_scores(registry.evaluation(candidate, folder / "candidate_scores"))
        if champion.data_sha256 == candidate.data_sha256:
            champion_scores = volume_scores(registry.evaluation(champion, folder / "champion_scores"))
        else:
            champion_scores = score_exported(
                theirs, catalogue=_catalogue(candidate, champion), prepared_dir=PREPARED_DIR
            )
    return judge(candidate_scores, champion_scores, organs=organs, limits=limits)


def _catalogue(candidate: Version, champion: Version) -> Catalogue:
    catalogue = Catalogue.read(PREPARED_DIR) if (PREPARED_DIR / VOLUMES_FILE).exists() else None
    if catalogue is None or catalogue.data_sha256 != candidate.data_sha256:
        raise GateError(
            f"{champion} was validated on other volumes than {candidate}, and {PREPARED_DIR} does not hold "
            f"the candidate's; `dvc repro prepare`, or `dvc checkout` of the candidate's commit, brings them back"
        )
    return catalogue
