"""What a reference meant is remembered durably; copies stay as long as somebody may need them."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
import weakref
from pathlib import Path

import pytest

from serving.inference.tuning import Tuner, TuningOverrides
from serving.models.cache import ModelCache
from serving.models.loaded_model import ModelIdentity
from serving.models.references import KeptVersion, Note
from serving.models.registry import RegisteredVersion
from serving.models.served import Models
from serving.storage import NoRemoteCopies
from tests.serving.models import write_model

CHAMPION = "models:/ricefish@champion"


def _cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "kept", remote=NoRemoteCopies())


def _added(tmp_path: Path, number: int) -> KeptVersion:
    """Version `number`, in the cache."""
    folder = write_model(tmp_path / f"model-{number}", thresholds=(0.1, 0.2 + number / 100))
    identity = _cache(tmp_path).add(folder, name="ricefish", version=str(number))
    return KeptVersion(identity, RegisteredVersion("ricefish", str(number), created_ms=number))


def _copies(tmp_path: Path) -> set[str]:
    return {folder.name for folder in (tmp_path / "kept").iterdir()} - {"references"}


def _models(tmp_path: Path) -> Models:
    return Models(
        tmp_path / "kept", device="cpu", tuner=Tuner(tmp_path, overrides=TuningOverrides(threads=1, batch_size=4))
    )


def test_a_reference_is_remembered_by_another_process(tmp_path: Path) -> None:
    """The present version first, then those before, each once; of another reference nothing is known."""
    versions = [_added(tmp_path, number) for number in (1, 2, 3)]
    for version in (*versions, versions[0]):
        _cache(tmp_path).remember(CHAMPION, version)
    note = _cache(tmp_path).note(CHAMPION)
    assert note is not None
    assert note.versions == (versions[0], versions[2], versions[1])
    assert _cache(tmp_path).note("models:/ricefish@candidate") is None


@pytest.mark.parametrize("lost", [0, 1])
def test_a_note_that_is_gone_is_missed_by_the_others(tmp_path: Path, lost: int) -> None:
    """Though both mean models of one name, until what is served is noted again."""
    references = [
        str(write_model(tmp_path / f"model-{n}", thresholds=(0.1, 0.2 + n / 100), name=f"m{n}")) for n in (1, 2)
    ]
    models = _models(tmp_path)
    models.serve(*references)
    assert list(_cache(tmp_path).damaged()) == []
    name = Note.filename(references[lost])
    (tmp_path / "kept" / "references" / name).unlink()
    assert list(_cache(tmp_path).damaged()) == [(f"references/{name}", "it is gone: another note names it")]
    models.serve(*references)
    assert list(_cache(tmp_path).damaged()) == []


def test_a_version_is_known_by_what_the_registry_says_of_it(tmp_path: Path) -> None:
    """A number that was given anew, to a model registered at another time, is another version."""
    version = _added(tmp_path, 1)
    _cache(tmp_path).remember(CHAMPION, version)
    registered = version.registered
    assert registered is not None
    assert _cache(tmp_path).known(CHAMPION, registered) == version.identity
    assert _cache(tmp_path).known(CHAMPION, dataclasses.replace(registered, created_ms=2)) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1, "versions": [{}]}', b"\xff"])
def test_a_note_that_cannot_be_understood_is_none(tmp_path: Path, content: bytes) -> None:
    """It is not there, as far as a server is concerned, and is written anew."""
    version = _added(tmp_path, 1)
    _cache(tmp_path).remember(CHAMPION, version)
    path = tmp_path / "kept" / "references" / Note.filename(CHAMPION)
    path.write_bytes(content)
    assert _cache(tmp_path).note(CHAMPION) is None
    _cache(tmp_path).remember(CHAMPION, version)
    assert _cache(tmp_path).note(CHAMPION) is not None


def test_pruning_keeps_what_references_mean(tmp_path: Path) -> None:
    """Of each the present version and the one before, and what scans need; not what is on its way in."""
    keys = []
    for number in range(1, 6):
        version = _added(tmp_path, number)
        _cache(tmp_path).remember(CHAMPION, version)
        keys.append(version.identity.key)
    other = _added(tmp_path, 6)
    _cache(tmp_path).remember("models:/ricefish@candidate", other)
    with _cache(tmp_path).incoming() as incoming:
        _cache(tmp_path).prune({keys[1]}, grace_seconds=0)
        assert _copies(tmp_path) == {keys[1], keys[3], keys[4], other.identity.key, Path(incoming).name}
    assert _cache(tmp_path).known(CHAMPION, RegisteredVersion("ricefish", "1", created_ms=1)) is None


def test_pruning_leaves_what_was_used_lately(tmp_path: Path) -> None:
    """A process that has just been given a model may not have written down the scan that needs it yet."""
    key = _added(tmp_path, 1).identity.key
    _cache(tmp_path).prune(())
    assert _copies(tmp_path) == {key}
    two_hours_ago = time.time() - 7200
    os.utime(tmp_path / "kept" / key, (two_hours_ago, two_hours_ago))
    _cache(tmp_path).prune(())
    assert _copies(tmp_path) == set()


def test_a_reference_that_no_server_has_protects_nothing(tmp_path: Path) -> None:
    """After 30 days."""
    version = _added(tmp_path, 1)
    path = tmp_path / "kept" / "references" / Note.filename(CHAMPION)
    path.parent.mkdir()
    for days, left in ((29, {version.identity.key}), (31, set())):
        Note(CHAMPION, (version,), confirmed_seconds=time.time() - days * 86400).write(path)
        _cache(tmp_path).prune((), grace_seconds=0)
        assert _copies(tmp_path) == left


def test_memory_is_given_back_when_nobody_holds_a_model(tmp_path: Path) -> None:
    """One that a scan under way still has stays loaded, and is not loaded twice; then its sessions are gone."""
    models = _models(tmp_path)
    folder = tmp_path / "model"
    of_scan = models.serve(str(write_model(folder)))
    session = weakref.ref(of_scan.runtime.sessions[0])
    models.serve(str(write_model(folder, thresholds=(0.2, 0.3))))
    assert models.of_scan(of_scan.identity).runtime is of_scan.runtime
    assert models.let_go(at_once=True)
    assert session() is not None
    del of_scan
    gc.collect()
    assert session() is None


def test_a_model_that_only_scans_need_stays_for_the_next(tmp_path: Path) -> None:
    """Two of them, so that a worker does not load its model for every scan; the one used longest ago goes."""
    models = _models(tmp_path)
    identities = [
        models.serve(str(write_model(tmp_path / str(n), thresholds=(0.1, 0.3 + n / 10)))).identity for n in (0, 1, 2)
    ]
    worker = _models(tmp_path)
    sessions = [weakref.ref(worker.of_scan(identity).runtime.sessions[0]) for identity in identities]
    gc.collect()
    assert [session() is not None for session in sessions] == [False, True, True]


def test_the_same_files_under_another_number_are_not_loaded_twice(tmp_path: Path) -> None:
    """Both versions are told apart, and share what is loaded."""
    models = _models(tmp_path)
    folder = write_model(tmp_path / "model")
    first = models.serve(str(folder))
    second = models.of_scan(ModelIdentity("other", "7", first.identity.sha256, first.identity.key))
    assert (second.identity.name, second.identity.version) == ("other", "7")
    assert second.runtime is first.runtime
