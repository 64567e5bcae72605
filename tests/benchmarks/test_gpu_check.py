"""`make gpu-check`: all of it runs on the CPU at small size, so that it works on the first machine with a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu_check.__main__ import main

pytestmark = pytest.mark.process


def test_all_of_it_runs_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each check passes or says why it is skipped; uint16 is sent in half the bytes; the scan goes through a server."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["--device", "cpu", "--quick"]) == 0
    (path,) = tmp_path.glob("ricefish-quick-*/gpu-check.json")
    said = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["check"]: row for row in said["rows"]}
    skipped = {name for name, row in rows.items() if "skipped" in row}
    assert {"cuda_graph", "tensorrt", "several GPUs"} <= skipped <= {*rows, "training"}
    assert all(row["passed"] for name, row in rows.items() if name not in skipped)
    assert rows["out of memory"]["tried"] == [8, 4, 2]
    sent = {name: row["sent_bytes_per_slice"] for name, row in rows.items() if name.startswith("speed")}
    assert sent["speed float32 uint16"] * 2 == sent["speed float32 float32"] == 64 * 64 * 4
    assert rows["whole scan"]["shape"] == [4, 64, 64]
    assert said["name"] and "FAILED" not in capsys.readouterr().out


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, for who runs it on the wrong machine; a library that is missed is named."""
    monkeypatch.setattr("benchmarks.gpu_check.__main__.cuda_devices", lambda _: [])
    assert main([]) == 2
    assert "no NVIDIA GPU" in capsys.readouterr().err
    monkeypatch.setattr("benchmarks.gpu_check.__main__.cuda_devices", lambda _: [0])
    monkeypatch.setattr("benchmarks.gpu_check.__main__.missing_library", lambda: "libcudnn.so.9: cannot open")
    assert main(["--quick"]) == 2
    assert "libcudnn.so.9" in capsys.readouterr().err
