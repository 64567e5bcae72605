"""Promotion and rollback by the API, on a real registry: what the gate says by hand, and what is written of a move."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ricefish.cli.models import app as command
from scans.model.manifest import ModelManifest
from scans.registry.champion import EVALUATION_RUN
from serving.auth.keys import Keys
from serving.models import champions
from serving.models.champion_turns import ChampionTurns
from serving.models.registry import RegisteredVersion
from serving.storage.database import Database
from tests.serving.in_process import Answered, App, running_app
from tests.serving.models import write_model
from tests.serving.registries import CHAMPION, NAME, SmallRegistry, free_port, sqlite_registry

pytestmark = pytest.mark.slow

SCORES = {1: (0.80, 0.60), 2: (0.83, 0.59), 3: (0.90, 0.54)}
"""Dice of heart and eye on the one volume: means 0.70, 0.71, and 0.72 with an eye that is 0.05 worse."""


@dataclass(frozen=True)
class Site:
    """A server in this process that follows the champion, its registry, and a key of each kind."""

    app: App
    registry: SmallRegistry
    shown: dict[str, str]
    folder: Path

    def call(self, method: str, path: str, body: object = None, *, who: str = "admin") -> Answered:
        headers = [(b"x-api-key", self.shown[who].encode())]
        content = b"" if body is None else json.dumps(body).encode()
        return self.app.ask(method, f"/v1/models/{path}".encode(), headers=headers, body=content)

    def promote(self, **wish: object) -> Answered:
        return self.call("POST", f"{NAME}/promotion", wish)

    def roll_back(self, **wish: object) -> Answered:
        return self.call("POST", f"{NAME}/rollback", wish)

    def refused(self, answer: Answered, status: int, slug: str) -> str:
        """What a refusal says."""
        said: dict[str, Any] = answer.json()
        assert (answer.status, said["type"]) == (status, f"urn:ricefish:problem:{slug}"), said
        return str(said["detail"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("promotion")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        registry = sqlite_registry(folder, patch)
        for number in SCORES:
            registry.register(write_model(folder / f"model_{number}", thresholds=(0.2 + number / 10, 0.9)))
        registry.point("1")
        database = Database(f"sqlite:///{folder}/keys.sqlite")
        database.open()
        shown = {who: Keys(database).add(owner=who, scopes=[who]) for who in ("segment", "review", "admin")}
        with running_app(folder, CHAMPION, database_url=f"sqlite:///{folder}/keys.sqlite", follow_seconds=0.1) as app:
            yield Site(app, registry, shown, folder)
        database.close()


@pytest.fixture
def site(store: Site) -> Site:
    """Version 1 is the champion, the first; 2 and 3 are evaluated, 2 is the candidate."""
    for number, (heart, eye) in SCORES.items():
        manifest = ModelManifest.read(store.folder / f"model_{number}")
        store.registry.evaluate(str(number), {"heart": heart, "eye": eye}, tags={"onnx_sha256": manifest.model_sha256})
    store.registry.point("1")
    store.registry.point("2", alias="candidate")
    store.registry.forget_history()
    return store


def test_a_verdict_is_worked_out_and_moves_nothing(site: Site) -> None:
    """For all who see the page: the mean 0.71 instead of 0.70, the eye 0.01 worse, which is allowed."""
    for who in site.shown:
        said = site.call("GET", f"{NAME}/verdict", who=who).json()
        assert (said["version"], said["champion"], said["passed"], said["failures"]) == (2, 1, True, [])
        assert [row["figure"] for row in said["rows"]] == ["mean", "heart", "eye"]
        assert [row["change"] for row in said["rows"]] == pytest.approx([0.01, 0.03, -0.01])
        assert [row["allowed_loss"] for row in said["rows"]] == [0.0, 0.03, 0.03]
    worse = site.call("GET", f"{NAME}/verdict?version=3").json()
    assert worse["failures"] == ["Dice of eye falls from 0.6000 to 0.5400; a loss of 0.03 is allowed"]
    assert [row["holds"] for row in worse["rows"]] == [True, True, False]
    assert site.call("GET", f"{NAME}/verdict?version=1").json()["is_champion"]
    assert site.registry.at() == "1"
    assert "there are 3, 2, 1" in site.refused(
        site.call("GET", f"{NAME}/verdict?version=7"), 404, "no-such-model-version"
    )
    assert site.call("GET", "unheard_of/verdict").status == 404


def test_the_champion_moves_and_back_and_it_is_noted_who_moved_it(site: Site) -> None:
    """The alias, the tags, the history that the command reads as well; the server follows at once."""
    done = site.promote(champion=1).json()
    assert (done["version"], done["before"], done["served"]) == (2, 1, True)
    assert (done["promotion"], done["by"]) == ("passed", "admin")
    tags = site.registry.tags("2")
    assert (site.registry.at(), tags["promotion"], tags["promoted_by"]) == ("2", "passed", "admin")
    assert "2 is the champion already, since" in site.refused(site.promote(version=2), 409, "not-promotable")
    assert "by admin" in site.refused(site.promote(version=3, champion=1), 409, "champion-moved")
    back = site.roll_back(champion=2).json()
    assert (back["version"], back["before"], site.registry.at()) == (1, 2, "1")
    assert site.registry.tags("2")["rolled_back_by"] == "admin"
    assert "is the first champion" in site.refused(site.roll_back(), 409, "not-promotable")
    assert site.promote(version=2).status == 200
    assert "rolled_back_by" not in site.registry.tags("2")
    rolled = CliRunner().invoke(command, ["rollback", NAME])
    assert (rolled.exit_code, site.registry.at()) == (0, "1"), rolled.output


def test_what_the_gate_refuses_is_forced_with_a_reason_alone(site: Site) -> None:
    """The refusal has a row for each organ; the reason is kept, and gone once the gate lets the version through."""
    answer = site.promote(version=3)
    assert "Dice of eye falls" in site.refused(answer, 409, "gate-refused")
    holds = {row["figure"]: row["holds"] for row in answer.json()["rows"]}
    assert holds == {"mean": True, "heart": True, "eye": False}
    for wish in ({"force": " "}, {"force": "because\u0000"}, {"version": "two"}, {"versoin": 3}):
        assert next(iter(wish)) in site.refused(site.promote(**wish), 400, "bad-move")
    assert site.registry.at() == "1"
    assert site.promote(version=3, force="the eye was\n mislabelled").json()["promotion"] == "forced"
    assert site.registry.tags("3")["forced_because"] == "the eye was mislabelled"
    site.roll_back()
    site.registry.evaluate("3", {"heart": 0.9, "eye": 0.6})
    assert site.promote(version=3, force="not needed").json()["promotion"] == "passed"
    assert "forced_because" not in site.registry.tags("3")


def test_what_cannot_be_compared_is_said_with_the_way_out(site: Site) -> None:
    """Other data, no limits noted, no evaluation; limits of a version from before stand with its run."""
    site.registry.evaluate("2", {"heart": 0.9, "eye": 0.9}, data="second data")
    (why,) = site.call("GET", f"{NAME}/verdict").json()["failures"]
    assert f"`ricefish models promote {NAME} --version 2` compares them where data/prepared is" in why
    assert site.refused(site.promote(), 409, "gate-refused") == why
    site.registry.untag("2", "register.least_mean_dice")
    (why,) = site.call("GET", f"{NAME}/verdict").json()["failures"]
    assert "registered before" in why and "dvc repro register" in why
    site.registry.evaluate("2", {"heart": 0.9, "eye": 0.9})
    site.registry.untag("2", "register.least_mean_dice")
    limits = {"least_mean_dice": 0.95, "greatest_mean_loss": 0.0, "greatest_organ_loss": 0.03}
    site.registry.log_parameters(site.registry.tags("2")[EVALUATION_RUN], **limits)
    (why,) = site.call("GET", f"{NAME}/verdict").json()["failures"]
    assert "mean Dice is 0.9000; no model below 0.95" in why
    site.registry.untag("2", EVALUATION_RUN)
    site.registry.evaluate("3", {"heart": 0.9, "eye": 0.9})
    site.registry.untag("3", EVALUATION_RUN)
    (why,) = site.call("GET", f"{NAME}/verdict?version=3").json()["failures"]
    assert "version 3 has no evaluation" in why


def test_a_first_champion_has_to_reach_the_floor(site: Site) -> None:
    """There is nothing to compare it with; what was champion when it was looked at is none."""
    site.registry.forget()
    assert site.call("GET", f"{NAME}/verdict").json()["champion"] is None
    assert site.promote(champion=1).status == 409
    assert site.promote(champion=None).json()["promotion"] == "first"
    assert "is the first champion" in site.refused(site.roll_back(), 409, "not-promotable")


def test_a_version_that_is_not_whole_is_promoted_by_no_way(site: Site) -> None:
    """Neither by force; the reason names the file. The bytes are those that were registered, or it is refused."""
    content = (site.folder / "model_2" / "model.onnx").read_bytes()
    place = next(file for file in (site.folder / "artifacts").rglob("model.onnx") if file.read_bytes() == content)
    place.write_bytes(content[:-1])
    try:
        assert "model.onnx has SHA-256" in site.refused(site.promote(force="it is urgent"), 409, "not-promotable")
        assert site.registry.at() == "1"
    finally:
        place.write_bytes(content)


def test_of_two_at_once_one_wins(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were let by the gate before either moved; who comes second is told so, and nothing of his is written."""
    both, answers = threading.Barrier(2), {}
    download = champions.download_version

    def together(version: RegisteredVersion, *, into: Path) -> Path:
        both.wait(30)
        return download(version, into=into)

    monkeypatch.setattr(champions, "download_version", together)

    def ask(number: int) -> None:
        answers[number] = site.promote(version=number, champion=1, force="it is urgent")

    threads = [threading.Thread(target=ask, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won, lost = sorted((2, 3), key=lambda number: answers[number].status)
    assert [answers[number].status for number in (won, lost)] == [200, 409]
    assert "admin" in site.refused(answers[lost], 409, "champion-moved")
    assert site.registry.at() == str(won)
    assert json.loads(site.registry.model_tags()["champion_history"]) == [1]


def test_a_turn_that_another_server_has_is_waited_for_by_nobody(site: Site) -> None:
    """Whose it is, is said; once it has ended, the champion moves."""
    database = Database(f"sqlite:///{site.folder}/keys.sqlite")
    with ChampionTurns(database).taken(NAME, by="grace"):
        assert "grace moves the champion" in site.refused(site.promote(), 409, "champion-moved")
        assert site.registry.at() == "1"
    assert site.promote().status == 200
    database.close()


def test_moving_is_the_admins_and_a_folder_has_no_versions(site: Site, tmp_path: Path) -> None:
    """403 for other keys, also where a model is called as another call is; 409 for what is served from a folder."""
    for who in ("segment", "review"):
        for name in (NAME, "webhook", "shadow"):
            for move in ("promotion", "rollback"):
                assert site.call("POST", f"{name}/{move}", {}, who=who).status == 403
    with running_app(tmp_path, write_model(tmp_path / "model")) as app:
        for method, move in (("GET", "verdict"), ("POST", "promotion"), ("POST", "rollback")):
            answer = app.ask(method, f"/v1/models/thresholds/{move}".encode())
            assert "start the server with --model models:/" in site.refused(answer, 409, "not-from-registry")


def test_a_registry_that_is_away_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and nothing is moved."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for answer in (site.call("GET", f"{NAME}/verdict"), site.promote(), site.roll_back()):
        assert "the registry" in site.refused(answer, 503, "no-registry")
    assert site.registry.at() == "1"
