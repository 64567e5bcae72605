"""Connection: requests to one server, with its key, and errors that say what the server said."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from ricefish.client.certificates import trusted, unreachable_hint

Answer = TypeVar("Answer")
KEY_VARIABLE = "RICEFISH_API_KEY"

LONG_SECONDS = 3600.0
"""For answers that take the server a pass over the whole scan: verifying it, writing its segmentation."""
_DIRECT = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}
"""No proxy stands between a machine and itself, whatever the environment says of proxies."""
_NO_KEY = f"the server wants an API key: set {KEY_VARIABLE}, or give --key"
_WRONG_KEY = f"the server does not take this API key: it is wrong, expired or revoked; set another in {KEY_VARIABLE}"
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed, as it may after none at all."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
QUEUE_FULL = "queue-full"
"""What a server calls it, at the end of a problem's `type`, that as much waits as may wait."""
TOO_MANY_REQUESTS = "too-much"
"""What it calls it that a key's allowance of requests, or of bytes, is used up."""
_MOST_RETRY_SECONDS = 60.0
"""The longest that an allowance of requests a minute takes to come back; one of bytes takes up to a day."""
QUEUE_SECONDS = 86_400.0
"""How long a full queue is waited for: the server is well, and says when to come back."""
_REMINDER_SECONDS = 300.0
_MOST_FAULTS = 5
"""Answers 500 in a row before the server's fault counts as one that stays."""


class RicefishError(RuntimeError):
    """The server refused, failed, or could not be reached; the message says what and what would be right."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_seconds: float = 0.0, problem: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None where no answer is what is wrong."""
        self.retry_seconds = retry_seconds
        """How long the server asks to be left alone."""
        self.problem = problem
        """The server's word for what is wrong, such as queue-full; None where it has none."""
        self.waited_for = False
        """Whether a Patience has given it up; no other one begins."""

    def adding(self, said: str) -> RicefishError:
        """The same error, whose message says more."""
        more = copy(self)
        more.args = (f"{self}; {said}",)
        return more


class NoAnswer(RicefishError):
    """The server could not be reached, or the connection broke off; it may pass."""


class Connection:
    """Requests to one server. `key` is sent with each of them; None: that of RICEFISH_API_KEY, if there is one.

    Certificates are trusted that this machine trusts, and those that were signed by `ca`; None: by that of RICEFISH_CA.
    """

    def __init__(self, url: str, *, key: str | None = None, ca: Path | None = None) -> None:
        timeout = httpx.Timeout(30.0, read=LONG_SECONDS, write=LONG_SECONDS)
        self._http = httpx.Client(
            base_url=url, timeout=timeout, mounts=_DIRECT, headers=_authorization(key), verify=trusted(ca)
        )
        self.url = str(httpx.URL(url).copy_with(username=None, password=None)).rstrip("/")
        """Of the server, without a password that it was given with."""

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def request(self, method: str, path: str, **request: Any) -> httpx.Response:
        """An answer that is no error. Raises RicefishError."""
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        _raise_for_problem(answer)
        return answer

    def when_allowed(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The same, which waits while the key's requests of this minute are used up."""
        while True:
            try:
                return self.request(method, path, **request)
            except RicefishError as error:
                wait_for_allowance(error)

    def get(self, path: str, **request: Any) -> httpx.Response:
        """The same of GET."""
        return self.when_allowed("GET", path, **request)

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        """What `get` gives, to be read piece by piece. Raises RicefishError, also while it is read."""
        try:
            while True:
                with self._http.stream("GET", path, **request) as answer:
                    if not answer.is_error:
                        yield answer
                        return
                    answer.read()
                try:
                    _raise_for_problem(answer)
                except RicefishError as error:
                    wait_for_allowance(error)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> NoAnswer:
        reason = str(error) or type(error).__name__
        return NoAnswer(f"no answer from {self.url}: {reason}; {unreachable_hint(error, self.url)}")


def to_be_tried(error: RicefishError, seconds: float) -> None:
    """Once for all tries, on stderr unless the program logs elsewhere."""
    logging.getLogger("ricefish").warning("%s; trying again for %.0f s", error, seconds)


def wait_for_allowance(error: RicefishError) -> None:
    """Waits until the key may make another request; raises the error where it is another, or that is long."""
    if error.problem != TOO_MANY_REQUESTS or not 0 < error.retry_seconds <= _MOST_RETRY_SECONDS:
        raise error
    time.sleep(error.retry_seconds)


class Patience:
    """How long to try again what may pass: with longer and longer pauses, until nothing has gone on for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._faults = 0
        self._full_since: float | None = None
        self._reminded = 0.0

    def renew(self) -> None:
        """Something has gone on."""
        self._since, self._pause_seconds, self._faults = None, _FIRST_PAUSE_SECONDS, 0
        self._full_since = None

    def pause(self, error: RicefishError, *, also: frozenset[int] = frozenset()) -> None:
        """Waits before the next try. Raises the error if it will not pass, or not in time.

        `also` are statuses that pass here and not elsewhere.
        """
        if error.waited_for:
            raise error
        if error.problem == QUEUE_FULL:
            self._wait_for_room(error)
            return
        now = time.monotonic()
        self._faults = self._faults + 1 if error.status == 500 else 0
        pause = max(self._pause_seconds, error.retry_seconds)
        since = now if self._since is None else self._since
        passes = isinstance(error, NoAnswer) or error.status in _MAY_PASS | also
        if not passes or self._faults >= _MOST_FAULTS or now + pause - since > self._seconds:
            error.waited_for = True
            raise error
        if self._since is None and error.status not in also:
            to_be_tried(error, self._seconds)
        self._since = since
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        time.sleep(pause)

    def persist(self, attempt: Callable[[], Answer]) -> Answer:
        """What an attempt gives, made again while what it raises may pass. Raises the error that does not."""
        while True:
            try:
                return attempt()
            except RicefishError as error:
                self.pause(error)

    def _wait_for_room(self, error: RicefishError) -> None:
        """Waits as long as the server says, and a little more, or all who were refused at once come at once again."""
        now = time.monotonic()
        self._since, self._pause_seconds, self._faults = None, _FIRST_PAUSE_SECONDS, 0
        self._full_since = now if self._full_since is None else self._full_since
        if now - self._full_since > QUEUE_SECONDS:
            error.waited_for = True
            raise error
        pause = max(error.retry_seconds, _FIRST_PAUSE_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311 - no secret
        if not self._reminded or now - self._reminded > _REMINDER_SECONDS:
            self._reminded = now
            logging.getLogger("ricefish").warning("the server's queue is full, so it is sent later: %s", error)
        time.sleep(pause)


def _authorization(key: str | None) -> dict[str, str]:
    name, value = (f"the key (--key, {KEY_VARIABLE})", os.environ.get(KEY_VARIABLE, "") if key is None else key)
    value = value.strip()
    if not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{name} holds a space or a character that no key has; give the key as it was handed out")
    return {"Authorization": f"Bearer {value}"} if value else {}


def _raise_for_problem(answer: httpx.Response) -> None:
    if answer.has_redirect_location:
        asked, elsewhere = answer.request.url, answer.headers["location"]
        raise RicefishError(f"{asked} is at {elsewhere} now; give that server's address", status=answer.status_code)
    if not answer.is_error:
        return
    detail, problem = f"{answer.request.method} {answer.request.url.path}: {answer.reason_phrase}", None
    with suppress(ValueError, KeyError, TypeError):
        said = answer.json()
        detail = str(said["detail"])
        problem = str(said["type"]).rpartition(":")[2]
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        detail = _WRONG_KEY if "authorization" in answer.request.headers else _NO_KEY
    seconds = _retry_seconds(answer)
    raise RicefishError(detail, status=answer.status_code, retry_seconds=seconds, problem=problem)


def _retry_seconds(answer: httpx.Response) -> float:
    stated = answer.headers.get("retry-after", "0").strip()
    if stated.isdecimal():
        return float(stated)
    try:
        at = parsedate_to_datetime(stated)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
