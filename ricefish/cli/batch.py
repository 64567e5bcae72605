"""`ricefish segment` of many scans: several at once, each from its file to its result, whatever becomes of the others.

A scan is posted with an Idempotency-Key made of its content and of all that is asked of it, so that the server knows it
again: whoever begins once more asks for that key first, and sends only what was never accepted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ricefish.cli.batch_state import BatchState
from ricefish.cli.output import check_output, check_source, fetch_result
from ricefish.client.client import Client, RicefishError
from ricefish.client.connection import NoAnswer
from ricefish.client.organs import ServedOrgan
from ricefish.client.parameters import Priority
from ricefish.client.scan_status import ScanStatus
from ricefish.client.upload_body import digest, upload_bytes
from scans.geometry import Spacing

Phase = Literal["reading", "sending", "segmenting", "fetching"]
Ending = Literal["done", "there", "failed"]
_LOOKING_SECONDS = 0.5
_MOST_RESULTS = 3
"""How often a result may turn out to be damaged on the server, and be made again."""
_NOT_BEGUN = "not begun, as the server no longer answers; run the command again when it does"


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of every scan."""

    spacing: Spacing | None = None
    priority: Priority = "normal"
    fresh: bool = False
    model: str | None = None
    version: str | None = None
    dataset: str | None = None
    with_scan: bool = False
    force: bool = False
    organs: bool = False
    """Whether to ask for the organs of what was fetched."""

    @property
    def anew(self) -> bool:
        """Whether what is there, here or on the server, is made again."""
        return self.force or self.fresh


@dataclass(frozen=True)
class BatchItem:
    """A scan, and the file that its segmentation is to be in."""

    path: Path
    out: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    item: BatchItem
    ending: Ending
    error: str | None = None
    """Why it failed."""
    scan: ScanStatus | None = None
    """As the server knew it last; None where it was not asked."""
    organs: list[ServedOrgan] = field(default_factory=list)


class Watcher:
    """Is told how a batch goes on, from several threads; this one does nothing of it."""

    def began(self, item: BatchItem, phase: Phase) -> None:
        """A scan has come to another phase."""

    def segmented(self, item: BatchItem, status: ScanStatus) -> None:
        """So many of its slices are done."""

    def ended(self, outcome: Outcome) -> None:
        """Something has become of a scan."""


class ScanBatch:
    """Scans that are segmented on one server."""

    def __init__(
        self, client: Client, options: BatchOptions, *, model: str, state: BatchState, watcher: Watcher
    ) -> None:
        """`model` is what tells the model that scans would get from others, as `served_model` asks for it."""
        self._client = client
        self._options = options
        self._state = state
        self._watcher = watcher
        spacing = None if options.spacing is None else list(options.spacing)
        token = state.token if options.fresh else None
        self._asked = json.dumps([model, spacing, options.dataset, token])
        self._gone = threading.Event()

    def run(self, items: Sequence[BatchItem], *, jobs: int) -> list[Outcome]:
        """All outcomes, in the order of the items; `jobs` at once, in threads that end with the program."""
        waiting: queue.SimpleQueue[tuple[int, BatchItem]] = queue.SimpleQueue()
        ended: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
        for numbered in enumerate(items):
            waiting.put(numbered)

        def work() -> None:
            for number, item in _each(waiting):
                ended.put((number, self._outcome(item)))

        for _ in range(min(jobs, len(items))):
            threading.Thread(target=work, daemon=True).start()
        outcomes: dict[int, Outcome] = {}
        while len(outcomes) < len(items):
            try:
                number, outcome = ended.get(timeout=_LOOKING_SECONDS)  # without an end, Windows hears no Ctrl-C
            except queue.Empty:
                continue
            outcomes[number] = outcome
            self._watcher.ended(outcome)
        return [outcomes[number] for number in range(len(items))]

    def _outcome(self, item: BatchItem) -> Outcome:
        """Of one scan; nothing that is wrong with it goes further."""
        try:
            if self._is_there(item):
                return Outcome(item, "there")
            if self._gone.is_set():
                return Outcome(item, "failed", _NOT_BEGUN)
            return self._segmented(item)
        except RicefishError as error:
            if (isinstance(error, NoAnswer) or error.status in (502, 503, 504)) and not self._client.is_there():
                self._gone.set()
            return Outcome(item, "failed", str(error))
        except (OSError, ValueError) as error:
            return Outcome(item, "failed", str(error))
        except Exception as error:  # whatever it is, the others go on
            return Outcome(item, "failed", f"{type(error).__name__}: {error}")

    def _is_there(self, item: BatchItem) -> bool:
        return os.path.lexists(item.out) and not (self._options.force and not self._state.wrote(item.path, item.out))

    def _segmented(self, item: BatchItem) -> Outcome:
        check_source(item.path, item.out)
        item.out.parent.mkdir(parents=True, exist_ok=True)
        check_output(item.out, sent_bytes=upload_bytes(item.path), force=self._options.force)
        scan = self._accepted(item)
        self._watcher.began(item, "segmenting")
        self._watcher.segmented(item, scan)
        scan = self._fetched(item, scan)
        if scan.state != "succeeded":
            return Outcome(item, "failed", _why(scan), scan)
        patience = self._client.patience()
        organs = patience.persist(lambda: self._client.organs(scan.id)) if self._options.organs else []
        return Outcome(item, "done", scan=scan, organs=organs)

    def _fetched(self, item: BatchItem, scan: ScanStatus) -> ScanStatus:
        """The scan at its end; where it has succeeded, its result is in its place."""
        for left in reversed(range(_MOST_RESULTS)):
            scan = self._followed(item, scan)
            if scan.state != "succeeded":
                break
            self._watcher.began(item, "fetching")
            try:
                options, patience = self._options, self._client.patience
                fetch_result(
                    self._client,
                    scan.id,
                    item.out,
                    with_scan=options.with_scan,
                    force=options.force,
                    patience=patience,
                )
                break
            except RicefishError as error:
                if error.problem != "not-finished" or not left:  # else the result was damaged, and is made again
                    raise
        return scan

    def _accepted(self, item: BatchItem) -> ScanStatus:
        """The scan, found or sent; one that failed or was cancelled before is tried again."""
        self._watcher.began(item, "reading")
        sha256, patience = digest(item.path), self._client.patience()
        key = "content " + hashlib.sha256(f"{sha256} {self._asked}".encode()).hexdigest()
        scan = patience.persist(lambda: self._client.find(key))
        if scan is None:
            self._watcher.began(item, "sending")
            options = self._options
            scan = patience.persist(
                lambda: self._client.submit(
                    item.path,
                    spacing=options.spacing,
                    priority=options.priority,
                    fresh=options.fresh,
                    model=options.model,
                    version=options.version,
                    dataset=options.dataset,
                    key=key,
                    sha256=sha256,
                )
            )
        return patience.persist(lambda: self._tried_again(scan)) if scan.state in ("failed", "cancelled") else scan

    def _tried_again(self, scan: ScanStatus) -> ScanStatus:
        try:
            return self._client.retry(scan.id)
        except RicefishError as error:
            if error.problem != "wrong-state":  # another file of the same content has asked for it at this moment
                raise
        return self._client.status(scan.id)

    def _followed(self, item: BatchItem, scan: ScanStatus) -> ScanStatus:
        """The scan at its end."""
        last = scan
        for last in self._client.wait(scan.id):
            self._watcher.segmented(item, last)
        return last


def served_model(client: Client, options: BatchOptions) -> str:
    """What tells the model that scans would get from others.

    Raises RicefishError where it is not served; a server that is not there at all is an error at once.
    """
    patience = client.patience()
    while True:
        try:
            return client.model_identity(options.model, options.version)
        except NoAnswer:
            raise
        except RicefishError as error:
            patience.pause(error)


def said_of(options: BatchOptions, *, server: str, suffix: str, model: str) -> str:
    """All that tells one batch from another, but for its scans."""
    return json.dumps([server, suffix, model, repr(dataclasses.replace(options, organs=False))])


def _why(scan: ScanStatus) -> str:
    if scan.state == "failed":
        return f"the scan failed: {scan.error}; `ricefish scans delete {scan.id}` has it sent anew the next time"
    return f"the scan {scan.state}: {scan.error or 'somebody deleted or cancelled it'}"


def _each(waiting: queue.SimpleQueue[tuple[int, BatchItem]]) -> Iterator[tuple[int, BatchItem]]:
    while True:
        try:
            yield waiting.get_nowait()
        except queue.Empty:
            return
