"""Configurations that clients send with a load request: each field that cannot be is refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving.in_process import App, running_app
from tests.serving.plain_models import SIMPLE_CONFIG, add_sub, place


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("server")
    place(add_sub(), folder / "repository" / "simple", config=SIMPLE_CONFIG)
    with running_app(folder, None, model_repository=str(folder / "repository")) as running:
        yield running


def inputs(dims: Any) -> dict[str, Any]:
    return {"input": [{"name": "INPUT0", "dims": dims}, {"name": "INPUT1"}]}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (inputs([-5, 16]), "'INPUT0': dims are [-5, 16]"),
        (inputs([10**23, 16]), "'INPUT0': dims are [100000000000000000000000, 16]"),
        (inputs([-1, True]), "'INPUT0': dims are [-1, True]"),
        (inputs({"of": 16}), "'INPUT0': dims are [{"),
        ({"platform": {}}, "platform is {}"),
        ({"platform": [[]]}, "platform is []"),
        ({"backend": 0}, "backend is 0"),
    ],
)
def test_what_no_field_can_be_is_refused(app: App, config: dict[str, Any], said: str) -> None:
    """400, and what was loaded before is served on."""
    body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
    answer = app.ask("POST", b"/v2/repository/models/simple/load", body=body)
    assert answer.status == 400 and said in answer.json()["error"], answer
    assert app.ask("GET", b"/v2/models/simple/ready").status == 200


def test_dims_that_agree_with_the_graph_are_taken(app: App) -> None:
    """-1 is any, and as many as the graph has."""
    body = json.dumps({"parameters": {"config": json.dumps(inputs([-1, 16]))}}).encode()
    assert app.ask("POST", b"/v2/repository/models/simple/load", body=body).status == 200
