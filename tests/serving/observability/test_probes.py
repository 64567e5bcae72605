"""A probe ends for good with nothing that a look can raise."""

from __future__ import annotations

import threading

import pytest

from serving.observability.probes import Probe


class Panic(BaseException):
    """As libraries raise that are written in other languages."""


def test_a_look_without_a_thread_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is left at one moment: who asks then is told, who asks later is answered."""
    start, refused = threading.Thread.start, threading.Event()

    def no_thread(thread: threading.Thread) -> None:
        if not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    probe = Probe(lambda: "seen", most_age_seconds=0, limit_seconds=60)
    with pytest.raises(RuntimeError, match="new thread"):
        probe.ask()
    assert probe.ask() == "seen"


def test_whatever_a_look_raises_is_the_answer() -> None:
    """Also what is no Exception; the next look is made."""
    looks: list[int] = []

    def look() -> str:
        looks.append(1)
        if len(looks) == 1:
            raise Panic
        return "seen"

    probe = Probe(look, most_age_seconds=0, limit_seconds=60)
    with pytest.raises(Panic):
        probe.ask()
    assert probe.ask() == "seen"
