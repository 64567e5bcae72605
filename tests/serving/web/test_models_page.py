"""The page of models: what serves, and what the registry says beside it, or that it says nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.models.registry import list_versions, tag_version
from tests.serving.in_process import running_app
from tests.serving.models import write_model
from tests.serving.registries import CHAMPION, NAME, sqlite_registry

BROWSER = [(b"accept", b"text/html")]
VERSIONS = f"/models/versions?name={NAME}".encode()


def text(html: bytes) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.decode()).split())


@pytest.mark.slow
def test_versions_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their aliases, figures, organs and what the gate said; the served one above them; then the registry goes."""
    registry = sqlite_registry(tmp_path, monkeypatch)
    for number, tags in enumerate((
        {"mean_dice": "0.7512", "dice.heart": "0.8", "promotion": "passed", "promoted_at": "2026-11-29"},
        {"mean_dice": "0.7001", "dice.heart": "0.7", "promotion": "forced", "forced_because": "a <new> detector"},
        {"mean_dice": "0.8004", "control.mean_dice": "0.79"},
    )):  # fmt: skip
        version = registry.register(write_model(tmp_path / f"model_{number}", thresholds=(0.3 + number / 10, 0.9)))
        for key, value in tags.items():
            tag_version(NAME, version, key, value)
    registry.point("1")
    registry.point("3", alias="candidate")
    assert [(one.number, one.aliases) for one in list_versions(NAME)] == [
        (3, ("candidate",)),
        (2, ()),
        (1, ("champion",)),
    ]
    with running_app(tmp_path, CHAMPION) as app:
        shown = text(app.ask("GET", b"/models", headers=BROWSER).body)
        assert f"{NAME} version 1" in shown and f"follows {CHAMPION}" in shown
        assert f"Versions of {NAME} in the registry" in shown
        rows = text(app.ask("GET", VERSIONS, headers=BROWSER).body)
        assert "heart" in rows and "0.7512" in rows and "0.8004" in rows and "passed the gate" in rows
        assert "promoted by force: a &lt;new&gt; detector" in rows
        assert rows.index("candidate") < rows.index("champion")
        other = text(app.ask("GET", b"/models/versions?name=other", headers=BROWSER).body)
        assert "no model of this name is served" in other
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/gone/mlflow.db")
        away = app.ask("GET", VERSIONS, headers=BROWSER)
        assert away.status == 200 and "the registry" in text(away.body)
