"""Scans in a queue that have been segmented, with what is judged of them by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scans.model.judgement import Judgement
from scans.verdicts import Verdicts
from serving.auth.identity import Identity
from serving.queue.jobs import Jobs, Priority
from serving.queue.leases import FinishedSlabs
from serving.queue.scan import Scan, Upload
from serving.storage.database import Database
from tests.serving.queues import STATISTICS, leases, queued


def reviewer(owner: str, *scopes: str, reviews: Sequence[str] = ()) -> Identity:
    return Identity(owner, frozenset(scopes or ("review",)), "0" * 12, reviews=frozenset(reviews))  # type: ignore[arg-type]


def judged(good: Sequence[float], dice: Sequence[tuple[float, float]] | None = None) -> Judgement:
    """Of slices of 4 x 4 pixels that all hold a heart (1) and an eye (2); Dice is expected of each, or of none."""
    segmentation = np.zeros((len(good), 4, 4), np.uint8)
    segmentation[:, 1, 1], segmentation[:, 2, 2] = 1, 2
    expected = None if dice is None else np.array(dice, np.float32)
    return Judgement.of_quality(segmentation, Verdicts(np.array(good, np.float32), expected), organs=2)


def finished(
    database: Database,
    judgement: Judgement | None,
    *,
    depth: int = 4,
    owner: Identity | None = None,
    folder: str | None = None,
    threshold: float | None = 0.5,
) -> Scan:
    """Accepted, segmented and succeeded, by the doors that a server uses; None: nothing was judged of it."""
    jobs = Jobs(database, owner="server")
    upload = Upload("fish.nii", "ab" * 32, 10, None, folder=folder)
    own = jobs if owner is None else jobs.seen_by(owner)
    scan = queued(own, shape=(depth, 4, 4), upload=upload, good_threshold=threshold)
    worker = leases(database, "server")
    lease = worker.take(Priority.NORMAL)
    assert lease is not None
    done = FinishedSlabs(
        slabs_done=len(scan.boxes),
        statistics=STATISTICS,
        judgement=judgement or Judgement.empty(2),
        checksums={},
        warnings=(),
        timings={},
        batch_size=4,
        rate=None,
    )
    worker.commit(lease, done)
    worker.succeed(lease)
    return scan
