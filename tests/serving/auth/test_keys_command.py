"""`ricefish keys list` and `revoke`: nothing cut off, and no more of an id than is needed."""

from __future__ import annotations

import stat
from pathlib import Path

from typer.testing import CliRunner

from ricefish.cli.app import app
from serving.auth.keys import Keys
from serving.storage.database import Database


def ricefish(*words: str, **environment: str) -> tuple[int, str]:
    result = CliRunner(env={"RICEFISH_TEST_DATA": None, **environment}).invoke(app, words)
    return result.exit_code, result.stdout + result.stderr


def test_a_list_of_keys_is_never_cut_off(tmp_path: Path) -> None:
    """Nor is a name of 200 letters, in a pipe as narrow as a pipe is, or what looks like markup."""
    where = {"RICEFISH_DATABASE_URL": f"sqlite:///{tmp_path}/keys.sqlite", "COLUMNS": "40"}
    owner = f"[bold]{'x' * 190}"
    ricefish("keys", "add", "--owner", owner, "--scope", "segment", "--scope", "review", **where)
    _, listed = ricefish("keys", "list", **where)
    (line,) = (line for line in listed.splitlines() if owner in line)
    assert "review, segment" in line and "valid" in line and "\u2026" not in listed


def test_a_key_is_revoked_by_as_much_of_its_id_as_no_other_has(tmp_path: Path) -> None:
    """What several begin with, or none, or nothing at all, revokes none and says which there are."""
    url = f"sqlite:///{tmp_path}/keys.sqlite"
    database = Database(url)
    database.open()
    keys = Keys(database)
    for _ in range(17):  # more than there are first digits
        keys.add(owner="ada", scopes=["segment"])
    ids = [key.id for key in keys.all()]
    shared = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    several = sorted(one for one in ids if one.startswith(shared))
    status, said = ricefish("keys", "revoke", shared, RICEFISH_DATABASE_URL=url)
    assert status == 1 and f"{len(several)} keys have an id that begins with '{shared}'" in said
    assert all(one in said for one in several)
    assert ricefish("keys", "revoke", "", RICEFISH_DATABASE_URL=url)[0] == 1
    assert all(key.valid for key in keys.all())
    assert ricefish("keys", "revoke", several[0][:9], RICEFISH_DATABASE_URL=url)[0] == 0
    assert [key.id for key in keys.all() if not key.valid] == several[:1]
    database.close()


def test_to_look_at_keys_makes_no_database(tmp_path: Path) -> None:
    """A slip in the store's name is told, and leaves nothing behind."""
    for words in (("list",), ("revoke", "a")):
        status, said = ricefish("keys", *words, RICEFISH_STORE=str(tmp_path / "stroe"))
        assert (status, said.count("\n")) == (1, 1)
        assert f"there is no {tmp_path}/stroe/jobs.sqlite" in said
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_the_first_key_is_for_one_user(tmp_path: Path) -> None:
    """As a server makes it, be a key made before it ever ran; what cannot be made is told by name."""
    store = tmp_path / "new" / "store"
    assert ricefish("keys", "add", "--owner", "ada", "--scope", "admin", RICEFISH_STORE=str(store))[0] == 0
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (store, store.parent)} == {0o700}
    status, said = ricefish("keys", "add", "--owner", "a", "--scope", "admin", RICEFISH_STORE=f"{store}/jobs.sqlite/s")
    assert status == 1 and f"the folder {store}/jobs.sqlite/s cannot be written: " in said


def test_a_time_that_no_key_may_have_is_told_by_its_option(tmp_path: Path) -> None:
    """As it was given, and with what would do."""
    for time in ("0d", "101y", "90"):
        words = ("keys", "add", "--owner", "ada", "--scope", "admin", "--expires", time)
        status, said = ricefish(*words, RICEFISH_STORE=str(tmp_path))
        assert status == 1 and said.startswith(f"ricefish keys: --expires is '{time}'; give ")
