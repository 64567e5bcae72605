"""A real browser without a window, told what to do over a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    "--window-size=1200,1400",
)


def installed() -> str | None:
    """Where a browser of this kind is; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page."""

    def __init__(self, sent: int, received: int) -> None:
        """File descriptors of the pipe: messages are JSON, each ended by a zero byte."""
        self._sent, self._received = sent, received
        self._rest = b""
        self._number = 0
        self._session = ""
        self.messages: list[str] = []
        """What the page complained of, such as what its policy forbids."""

    def begin(self) -> None:
        """Opens an empty page."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Goes to an address."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """What an expression gives; it may be a promise. Raises AssertionError where it throws."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, *, seconds: float = 30.0) -> Any:
        """Waits until the expression gives something true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script}\n{self.messages}"
            time.sleep(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        """Of what a window would show, as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        os.write(self._sent, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            if answer.get("method") == "Log.entryAdded":
                self.messages.append(answer["params"]["entry"]["text"])
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._received, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that keeps what it keeps in `folder`. There has to be one installed."""
    program = installed()
    assert program is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    wired = f"exec {program} {' '.join(_OPTIONS)} --user-data-dir='{folder}' 3<&{theirs_in} 4>&{theirs_out}"
    with subprocess.Popen(
        ["bash", "-c", wired], pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            browser = Browser(ours_out, ours_in)
            browser.begin()
            yield browser
        finally:
            os.close(ours_out)
            os.close(ours_in)
            process.terminate()
            process.wait(20)
