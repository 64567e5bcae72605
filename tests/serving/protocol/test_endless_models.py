"""Models that never end: their time, their caller's patience and the server's life bound what they compute."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.serving.in_process import Answered, App, running_app
from tests.serving.plain_models import SIMPLE_CONFIG, add_sub, endless, place
from tests.serving.running import RunningServer

pytestmark = pytest.mark.slow

MERGING = 'max_batch_size: 8 input { name: "INPUT" dims: 1 } output { name: "OUTPUT" dims: 1 }'
FOR_EVER = 3600
AT_ONCE = max(2, os.cpu_count() or 1) + 1
"""One more than the threads that plain models have."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    place(endless(), folder / "endless")
    place(endless(), folder / "merging", config=MERGING)
    place(add_sub(), folder / "simple", config=SIMPLE_CONFIG)
    return folder


@pytest.fixture
def patient(tmp_path: Path, repository: Path) -> Iterator[App]:
    """A server that would let a model compute for an hour."""
    with running_app(tmp_path, None, model_repository=str(repository), plain_model_seconds=FOR_EVER) as app:
        yield app


def ask(app: App, model: str = "endless", *, leaving: bool = False) -> Answered:
    tensor = {"name": "INPUT", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return app.ask("POST", f"/v2/models/{model}/infer".encode(), body=body, leaving=leaving)


def add(app: App) -> int:
    numbers = {"shape": [1, 16], "datatype": "INT32", "data": [1] * 16}
    body = json.dumps({"inputs": [{"name": name, **numbers} for name in ("INPUT0", "INPUT1")]}).encode()
    answer = app.ask("POST", b"/v2/models/simple/infer", body=body, seconds=20).json()
    return int(answer["outputs"][0]["data"][0])


@pytest.mark.parametrize("model", ["endless", "merging"])
def test_a_model_is_ended_after_its_seconds(tmp_path: Path, repository: Path, model: str) -> None:
    """503, which names the setting, to all whose requests it computed; and others are answered meanwhile and later."""
    with running_app(tmp_path, None, model_repository=str(repository), plain_model_seconds=1) as app:
        answers: list[Answered] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(app, model))) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [answer.status for answer in answers] == [503] * AT_ONCE
        assert all("RICEFISH_PLAIN_MODEL_SECONDS" in answer.json()["error"] for answer in answers)
        assert add(app) == 2


@pytest.mark.parametrize("model", ["endless", "merging"])
def test_who_leaves_frees_the_thread(patient: App, model: str) -> None:
    """As many clients as there are threads, and one more, leave: the next one is answered."""
    for _ in range(AT_ONCE):
        assert ask(patient, model, leaving=True).status == 499
    assert add(patient) == 2


def test_a_batch_goes_on_for_who_stays(patient: App) -> None:
    """Of two requests that are computed together one is left: the other is still under way."""
    stayed = threading.Thread(target=lambda: ask(patient, "merging"), daemon=True)
    stayed.start()
    time.sleep(0.5)
    assert ask(patient, "merging", leaving=True).status == 499
    assert stayed.is_alive()


def test_the_end_of_the_server_ends_it(tmp_path: Path, repository: Path) -> None:
    """Within seconds, though its limit is an hour; who waits is told."""
    answers: list[Answered] = []
    with ExitStack() as stack:
        given = {"model_repository": str(repository), "plain_model_seconds": FOR_EVER}
        app = stack.enter_context(running_app(tmp_path, None, **given))
        waiting = threading.Thread(target=lambda: answers.append(ask(app)))
        waiting.start()
        time.sleep(0.5)
        began = time.monotonic()
    waiting.join(20)
    assert time.monotonic() - began < 15
    assert [answer.status for answer in answers] == [503]


def test_one_model_leaves_a_thread_to_others(patient: App) -> None:
    """As many requests of an endless model are under way as there are threads: another model answers meanwhile."""
    for _ in range(AT_ONCE):
        threading.Thread(target=lambda: ask(patient), daemon=True).start()
    time.sleep(0.5)
    assert add(patient) == 2


def test_all_who_wait_are_told_of_the_end(tmp_path: Path, repository: Path) -> None:
    """Those whose run was begun, and those behind them."""
    answers: list[Answered] = []
    with running_app(tmp_path, None, model_repository=str(repository), plain_model_seconds=FOR_EVER) as app:
        waiting = [threading.Thread(target=lambda: answers.append(ask(app))) for _ in range(AT_ONCE + 2)]
        for thread in waiting:
            thread.start()
        time.sleep(0.5)
    for thread in waiting:
        thread.join(20)
    assert [answer.status for answer in answers] == [503] * (AT_ONCE + 2)


def test_what_the_end_of_the_server_cuts_short_is_answered(patient: App) -> None:
    """As uvicorn cancels what is under way after its grace: 503, and nothing of a fault of the server."""
    tensor = {"name": "INPUT", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    cut = patient.ask("POST", b"/v2/models/endless/infer", body=json.dumps({"inputs": [tensor]}).encode(), cut_after=1)
    assert cut.status == 503 and "the server stops" in cut.json()["error"]


@pytest.mark.process
def test_a_server_that_is_told_to_stop_waits_for_no_endless_model(
    tmp_path: Path, repository: Path, processes: None
) -> None:
    """It ends within seconds, and more clients than there are threads have their 503."""
    server = RunningServer(tmp_path, None, model_repository=repository, plain_model_seconds=FOR_EVER).start()
    tensor = {"name": "INPUT", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    url, answers = f"{server.url}/v2/models/endless/infer", list[int]()

    def post() -> None:
        answers.append(httpx.post(url, json={"inputs": [tensor]}, timeout=60).status_code)

    waiting = [threading.Thread(target=post) for _ in range(AT_ONCE)]
    for thread in waiting:
        thread.start()
    time.sleep(1)
    began = time.monotonic()
    assert server.end() == 0
    assert time.monotonic() - began < 15
    for thread in waiting:
        thread.join(20)
    assert answers == [503] * AT_ONCE
