"""Folders of a server: nobody else enters them, and what was put in their place beforehand is not followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from serving.storage import FolderStore, Scratch, StoreError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_made_for_one_user(tmp_path: Path) -> None:
    """Whatever the umask says: the store and the scratch folder, all in them, and what was missing above."""
    before = os.umask(0)
    try:
        store = tmp_path / "new" / "store"
        with Scratch(store / "scratch").opened(), FolderStore(store).open(alone=True):
            folders = [tmp_path / "new", store, *(path for path in store.rglob("*") if path.is_dir())]
    finally:
        os.umask(before)
    assert {folder.name for folder in folders} >= {"new", "store", "scratch", "uploads", "incoming", "staging", "scans"}
    assert {mode(folder) for folder in folders} == {0o700}
    assert mode(store / ".lock") == mode(store / "scratch" / ".lock") == 0o600


def test_a_scratch_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    """One of an earlier version; the store's folder stays as the operator made it."""
    scratch, store = tmp_path / "scratch", tmp_path / "store"
    for folder in (scratch, store):
        folder.mkdir()
        folder.chmod(0o770)
    with Scratch(scratch).opened(), FolderStore(store).open(alone=True):
        assert (mode(scratch), mode(store)) == (0o700, 0o770)


@pytest.mark.parametrize("name", ["uploads", "incoming", "staging", ".lock"])
def test_no_link_in_a_scratch_folder_is_followed(tmp_path: Path, name: str) -> None:
    """What it leads to is neither emptied nor filled."""
    scratch, target = tmp_path / "scratch", tmp_path / "elsewhere"
    scratch.mkdir()
    target.mkdir()
    (target / "kept").touch()
    (scratch / name).symlink_to(target / "lock" if name == ".lock" else target)
    with pytest.raises(StoreError, match=rf"{name} is a link|cannot be written"), Scratch(scratch).opened():
        pass
    assert [path.name for path in target.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["scans", "arriving", "deleted", "models", ".lock"])
def test_no_link_in_a_store_is_followed(tmp_path: Path, name: str) -> None:
    """The same."""
    store, target = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    target.mkdir()
    (store / name).symlink_to(target / "lock" if name == ".lock" else target)
    with pytest.raises((StoreError, OSError), match=rf"{name} is a link|symbolic"), FolderStore(store).open(alone=True):
        pass
    assert not list(target.iterdir())


def test_a_folder_where_everybody_may_write_has_to_be_ours(tmp_path: Path) -> None:
    """A link among the temporary files is refused; one where only an operator can have put it leads to another disk."""
    shared, target = tmp_path / "tmp", tmp_path / "elsewhere"
    for folder in (shared, target):
        folder.mkdir()
    shared.chmod(0o1777)
    for link in (shared / "ricefish-a", tmp_path / "link"):
        link.symlink_to(target)
    with pytest.raises(StoreError, match="others may have put there"), Scratch(shared / "ricefish-a").opened():
        pass
    assert not list(target.iterdir())
    with Scratch(tmp_path / "link").opened():
        assert (target / "uploads").is_dir()
    if os.geteuid() == 0:
        (shared / "ricefish-b").mkdir()
        os.chown(shared / "ricefish-b", 12345, -1)
        with pytest.raises(StoreError, match="another user's"), Scratch(shared / "ricefish-b").opened():
            pass
