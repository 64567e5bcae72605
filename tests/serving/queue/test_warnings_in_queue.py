"""What is judged of a scan, and what warns of it, stays with its row."""

from __future__ import annotations

from scans.model.judgement import Judgement
from serving.queue.jobs import Jobs, Priority
from serving.storage.database import Database
from tests.serving.queues import JUDGEMENT, WARNING, commit, leases, queued


def test_what_was_judged_goes_on_with_the_scan(database: Database, jobs: Jobs) -> None:
    """Whoever takes a scan over adds to what was judged of its first slabs, to the last digit."""
    queued(jobs)
    lease = leases(database, "a", seconds=-1.0).take(Priority.NORMAL)
    assert lease is not None and lease.judgement == Judgement.empty(2)
    commit(leases(database, "a", seconds=-1.0), lease, slabs_done=1)
    taken = leases(database, "b").take(Priority.NORMAL)
    assert taken is not None and taken.judgement == JUDGEMENT


def test_scans_with_warnings_are_found(database: Database, jobs: Jobs) -> None:
    """Those that came with one, and those that got one later."""
    plain, late = queued(jobs, created_seconds=1.0), queued(jobs, created_seconds=0.0)
    early = queued(jobs, created_seconds=2.0, warnings=(WARNING,), good_threshold=0.25)
    lease = leases(database, "a").take(Priority.NORMAL)
    assert lease is not None and lease.scan == late
    commit(leases(database, "a"), lease, slabs_done=1)
    assert [scan for scan, _ in jobs.page(limit=9, flagged=True)] == [early, late]
    assert [scan for scan, _ in jobs.page(limit=9, flagged=False)] == [plain]
    assert len(jobs.page(limit=9)) == 3
    assert jobs.get(early.id)[1].warnings == (WARNING,)
