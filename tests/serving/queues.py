"""Scans to put into a queue, and what is known of a slab of theirs."""

from __future__ import annotations

import dataclasses
import time
import uuid

import numpy as np

from scans.geometry import Box, Frame, Spacing
from scans.intensity import Window
from scans.measures.statistics import OrganStatistics
from scans.model.drift import Departure
from scans.model.judgement import Judgement
from scans.organs import OrganMap
from scans.verdicts import Verdicts
from serving.models.served import ModelIdentity
from serving.queue.jobs import Jobs, Priority
from serving.queue.leases import FinishedSlabs, Lease, Leases
from serving.queue.scan import Scan, Upload
from serving.storage.database import Database

SLAB = np.zeros((2, 4, 4), np.uint8)
SLAB[0, 1, 1] = 2
STATISTICS = OrganStatistics.of(SLAB, box=Box((0, 0, 0), (2, 4, 4)), classes=3)
JUDGEMENT = Judgement.of_quality(SLAB, Verdicts(np.array([0.1, 0.7], np.float32), None), organs=2)
WARNING = Departure("spacing", "no such spacing was seen", found="2", expected="1")


def new_scan(**changes: object) -> Scan:
    scan = Scan(
        id=uuid.uuid4().hex,
        created_seconds=time.time(),
        upload=Upload(filename="fish.nii", sha256="ab" * 32, bytes=10, spacing=None),
        shape=(10, 4, 4),
        dtype="uint16",
        frame=Frame.from_lps(Spacing(1, 1, 1)),
        window=Window(0, 1),
        model=ModelIdentity(name="m", version=None, sha256="cd" * 32, key="ef" * 32),
        organs=OrganMap.from_mapping({1: "heart", 2: "eye"}),
        slab_slices=4,
        image_checksums={"zarr.json": "0" * 16},
    )
    return dataclasses.replace(scan, **changes)


def queued(jobs: Jobs, *, priority: Priority = Priority.NORMAL, **changes: object) -> Scan:
    scan = new_scan(**changes)
    assert jobs.reserve(scan, priority=priority, checksums={})
    jobs.enqueue(scan.id)
    return scan


def leases(database: Database, owner: str, *, seconds: float = 60.0) -> Leases:
    return Leases(database, owner=owner, seconds=seconds)


def commit(by: Leases, lease: Lease, *, slabs_done: int) -> None:
    done = FinishedSlabs(
        checksums={},
        slabs_done=slabs_done,
        statistics=STATISTICS,
        judgement=JUDGEMENT,
        warnings=[WARNING],
        timings={"read": 1.5},
        batch_size=4,
        rate=2.0,
    )
    by.commit(lease, done)
