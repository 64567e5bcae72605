"""Settings are refused by name; log lines can be read by a machine."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
from pathlib import Path
from typing import Literal

import pytest

from serving.observability import logs
from serving.observability.logs import FIELDS, KeyValueFormatter
from serving.settings import Settings, SettingsError, read_settings
from serving.storage import FolderStore, StoreError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RICEFISH_TEST_DATA", raising=False)


def test_settings_come_from_the_environment_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """RICEFISH_PORT counts unless --port is given."""
    monkeypatch.setenv("RICEFISH_MODEL", "models/student")
    monkeypatch.setenv("RICEFISH_PORT", "9000")
    assert read_settings().port == 9000
    assert read_settings(port=9001, host=None).port == 9001
    assert read_settings().host == "127.0.0.1"


def test_an_unknown_variable_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in a variable's name is not passed over."""
    monkeypatch.setenv("RICEFISH_SLAB_SLICE", "8")
    with pytest.raises(SettingsError, match=r"RICEFISH_SLAB_SLICE is not a setting.*did you mean RICEFISH_SLAB_SLICES"):
        read_settings(model="m")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("SLAB_SLICES", "0"), ("SLAB_SLICES", "24"), ("DEVICE", "tpu"), ("UPLOAD_LIMIT_BYTES", "much")],
)
def test_a_value_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The message names the variable and shows the value."""
    monkeypatch.setenv(f"RICEFISH_{name}", value)
    with pytest.raises(SettingsError, match=f"RICEFISH_{name} is '{value}'"):
        read_settings(model="m")


def test_a_missing_model_is_named() -> None:
    """Both ways to give it are in the message."""
    with pytest.raises(SettingsError, match=r"RICEFISH_MODEL \(--model\) is not set"):
        read_settings()


def test_a_store_serves_one_server(tmp_path: Path) -> None:
    """A second server alone on the same folder is refused; when the first has ended, it is not."""
    with (
        FolderStore(tmp_path).open(alone=True),
        pytest.raises(StoreError, match="in use by another server"),
        FolderStore(tmp_path).open(alone=True),
    ):
        pass
    with FolderStore(tmp_path).open(alone=True):
        pass


def test_a_log_line_is_key_value_pairs_on_one_line() -> None:
    """Values with spaces, quotes or newlines are quoted; the rest is bare."""
    record = logging.LogRecord("ricefish", logging.INFO, __file__, 1, "scan_failed", None, None)
    setattr(record, FIELDS, {"scan": "ab12", "error": 'no "end"\nof it', "seconds": 0.123456})
    line = KeyValueFormatter().format(record)
    assert line.endswith(r'level=info event=scan_failed scan=ab12 error="no \"end\"\nof it" seconds=0.1235')
    assert line.startswith("time=20")


@pytest.mark.parametrize(
    "letter", ["\n", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200f", "\ud800"]
)
def test_nothing_in_a_log_line_acts_upon_who_reads_it(letter: str) -> None:
    """Ends of lines, commands to a terminal and turned writing are spelt out, in fields, names and tracebacks."""
    forged = f"a.nii{letter}time=2026-01-01T00:00:00.000Z level=info event=scan_removed"
    try:
        raise ValueError(forged)
    except ValueError:
        record = logging.LogRecord("ricefish", logging.INFO, __file__, 1, forged, None, sys.exc_info())
    setattr(record, FIELDS, {"name": forged})
    first, *below = KeyValueFormatter().format(record).split("\n")
    assert all(line.isprintable() for line in (first, *below))
    assert letter.encode("unicode_escape").decode() in first
    assert all(line.startswith("  ") for line in below) and "a.nii" in below[-1] + below[-2]


def test_a_log_line_can_be_a_json_object() -> None:
    """Fields keep their types, what is bound is there, and a traceback stays on the line, with nothing that acts."""
    try:
        raise ValueError("no\u202e \x1b\x7f \ud800 end")
    except ValueError:
        record = logging.LogRecord("ricefish", logging.ERROR, __file__, 1, "scan_failed", None, sys.exc_info())
    setattr(record, FIELDS, {"scan": "ab12", "seconds": 0.123456, "rate": float("nan"), "path": Path("a b"), "slab": 3})

    def formatted() -> str:
        logs.bind(request="r1")
        return logs.JsonFormatter().format(record)

    line = contextvars.copy_context().run(formatted)
    assert line.isprintable()
    assert line.isascii()
    read = json.loads(line)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", read.pop("time"))
    assert "ValueError: no" in read.pop("exception")
    assert read == {
        **{"level": "error", "message": "scan_failed", "scan": "ab12", "seconds": 0.123456},
        **{"rate": "nan", "path": "a b", "slab": 3, "request": "r1"},
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_log_line_holds_the_password_of_an_address(form: Literal["text", "json"]) -> None:
    """In the event's name, in a field and in a traceback, as libraries quote the address that they were given."""
    try:
        raise ValueError("no answer from http://ada:s3cret@mlflow/api")
    except ValueError:
        name = "retrying postgresql://db/q?password=s3cret"
        record = logging.LogRecord("urllib3", logging.ERROR, __file__, 1, name, None, sys.exc_info())
    setattr(record, FIELDS, {"error": "http://ada:s3cret@mlflow"})
    line = (KeyValueFormatter() if form == "text" else logs.JsonFormatter()).format(record)
    assert "s3cret" not in line and line.count("ada:***@mlflow") >= 2 and "password=***" in line


def test_why_a_process_ends_is_a_line_in_the_form_of_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    """For a person, or as an event for what collects objects alone."""
    kept = (*logging.getLogger().handlers,), logging.getLogger().level, logging.getLogger("ricefish").level
    try:
        for form in ("text", "json"):
            logs.configure("info", form=form)
            logs.fail("no http://ada:s3cret@mlflow")
    finally:
        logging.getLogger().handlers[:], level, ours = kept
        logging.getLogger().setLevel(level)
        logging.getLogger("ricefish").setLevel(ours)
    text, line = capsys.readouterr().err.splitlines()
    assert text == "ricefish: no http://ada:***@mlflow"
    said = json.loads(line)
    assert (said["level"], said["message"], said["error"]) == ("error", "failed", "no http://ada:***@mlflow")


def test_every_setting_is_documented() -> None:
    """docs/serving.md names each variable that the server reads, and no other of its prefix."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    written = set(re.findall(r"`(RICEFISH_[A-Z0-9_]+[A-Z])`", page))
    assert written == {f"RICEFISH_{name.upper()}" for name in Settings.model_fields}
