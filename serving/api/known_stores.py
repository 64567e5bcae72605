"""Known stores: what a finished scan's pyramids consist of, for as long as it takes to look at one place of it.

A viewer asks for hundreds of parts at once, and each would read the same row, with the checksums of hundreds of files
in it. What is remembered here is at most FRESH_SECONDS old, and for whoever it was shown to alone: of a scan that is
removed in another process, files may be there for so long, unless they are gone; of one that is removed in this one,
none. Whose key it is, and whether that still counts, is looked at for every request, and so is the stamp of each file.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serving.auth.identity import Identity
from serving.queue.jobs import Job
from serving.queue.scan import Scan
from serving.segmentation.served_files import KeptPyramid

FRESH_SECONDS = 2.0
"""As keys and sessions count for so long."""
_MOST = 16
"""Of which each is some hundred kilobytes."""


@dataclass(frozen=True)
class Asked:
    """Which store is meant, and who asks for it: nobody is answered by what was shown to another."""

    identity: Identity
    scan_id: str
    store: str
    """Image, segmentation or version, as its address names it."""


Store = tuple[KeptPyramid, Scan, Job]
"""What a scan's files are, and what they are of."""


class KnownStores:
    """Remembers finished scans' stores. Safe to use from several threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._known: OrderedDict[Asked, tuple[float, Store]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, asked: Asked) -> Store | None:
        """What was found a moment ago; None where nothing was."""
        until, found = self._known.get(asked, (0.0, None))
        return found if self._clock() < until else None

    def found(self, asked: Asked, find: Callable[[], Store]) -> Store:
        """What `find` gives, which is remembered unless the scan can still change. Raises what it raises."""
        until = self._clock() + FRESH_SECONDS
        found = find()
        if found[2].state == "succeeded":
            with self._lock:
                self._known[asked] = (until, found)
                self._known.move_to_end(asked)
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return found

    def forget(self, scan_id: str) -> None:
        """What was known of a scan that has changed."""
        with self._lock:
            for asked in [one for one in self._known if one.scan_id == scan_id]:
                del self._known[asked]
