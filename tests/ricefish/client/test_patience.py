"""How long what a server does not do is tried again, and what is never tried again."""

from __future__ import annotations

from typing import NoReturn

import pytest

from ricefish.client.client import Client
from ricefish.client.connection import NoAnswer, Patience, RicefishError
from ricefish.client.upload_state import UploadUnderWay

NOWHERE = "http://127.0.0.1:9"


class Failing:
    """Raises an error, and counts how often."""

    def __init__(self, error: RicefishError) -> None:
        self.error = error
        self.asked = 0

    def __call__(self) -> NoReturn:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [UploadUnderWay("by another process"), RicefishError("lost 3 uploads of fish.nii")])
def test_what_no_server_was_asked_is_not_asked_again(error: RicefishError) -> None:
    """An error without a status is no missing answer."""
    attempt = Failing(error)
    with pytest.raises(RicefishError, match=str(error)):
        Patience(300.0).persist(attempt)
    assert attempt.asked == 1


def test_no_answer_is_asked_for_until_patience_is_over_and_by_one_alone() -> None:
    """After half a second, and not after another: what gave up is believed by whoever called it."""
    attempt = Failing(NoAnswer("no answer"))
    with pytest.raises(NoAnswer):
        Patience(1.0).persist(lambda: Patience(1.0).persist(attempt))
    assert attempt.asked == 2


def test_what_is_added_to_an_error_leaves_it_what_it_is() -> None:
    """Its kind, its status, and that it was waited for."""
    error = NoAnswer("no answer", retry_seconds=3.0)
    error.waited_for = True
    more = error.adding("5 bytes have arrived")
    assert isinstance(more, NoAnswer)
    assert (str(more), more.retry_seconds, more.waited_for) == ("no answer; 5 bytes have arrived", 3.0, True)


def test_a_scan_that_is_waited_for_is_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` has had the patience of its client: nobody persists after it."""
    with Client(NOWHERE, patience_seconds=1.0) as client:
        attempt = Failing(NoAnswer("no answer"))
        monkeypatch.setattr(client, "status", lambda _: attempt())
        with pytest.raises(NoAnswer):
            client.patience().persist(lambda: list(client.wait("0" * 32)))
    assert attempt.asked == 2
