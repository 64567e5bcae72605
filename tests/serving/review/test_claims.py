"""Which slice is next, for whom, and that nobody else is given it, in SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from scans.reviews import Verdict
from serving.auth.identity import ANYONE, Identity
from serving.queue.jobs import Jobs, Priority
from serving.review.claims import Claim, Claims
from serving.review.enrolment import enrol, sweep
from serving.review.records import JudgedMask, Records
from serving.storage.database import Database
from tests.serving.queues import leases
from tests.serving.review.finished import finished, judged, reviewer

ADA, EVE = reviewer("ada", reviews=["lab"]), reviewer("eve", reviews=["lab"])
LAB = Identity("lab", frozenset({"segment"}))


def say(database: Database, who: Identity, claim: Claim, verdict: Verdict = "good", *, organ: str = "") -> str:
    of = JudgedMask(claim.scan_id, "lab", "fish", "z", claim.offer.slice_index, "0" * 64, "m", None, "1" * 64)
    return Records(database).add(who.reviewer, of, organ=organ, verdict=verdict, comment="")[0].id


def taken(claims: Claims, who: Identity) -> tuple[str, int] | None:
    claim = claims.take(who)
    return None if claim is None else (claim.scan_id, claim.offer.slice_index)


def test_threads_that_ask_at_once_get_different_slices(database: Database) -> None:
    """Sixteen asks of two reviewers, over connections of their own: each of the sixteen slices once."""
    scan = finished(database, judged([0.5] * 16), depth=16, owner=LAB)
    enrol(database)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: taken(Claims(database), (ADA, EVE)[n % 2]), range(16)))
    assert sorted(index for _, index in filter(None, found)) == list(range(16))
    assert {scan_id for scan_id, _ in filter(None, found)} == {scan.id}


def test_scans_are_enrolled_once_whoever_looks(database: Database) -> None:
    """Eight threads look at once: nobody fails, and each scan's slices are there once."""
    for _ in range(3):
        finished(database, judged([0.5] * 4), owner=LAB)
    with ThreadPoolExecutor(8) as threads:
        enrolled = list(threads.map(lambda _: enrol(database), range(8)))
    assert sum(enrolled) == 3 and enrol(database) == 0
    assert Claims(database).waiting(ADA) == (12, 12)


def test_whoever_comes_first_takes_nothing_from_anybody(database: Database) -> None:
    """Eight ask at once of scans that nobody has enrolled yet: each is given another slice all the same."""
    finished(database, judged([0.5] * 8), depth=8, owner=LAB)

    def first(_: int) -> tuple[str, int] | None:
        enrol(database)
        return taken(Claims(database), ADA)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(first, range(8)))
    assert sorted(index for _, index in filter(None, found)) == list(range(8))


def test_a_claim_ends_by_itself(database: Database) -> None:
    """What Ada was given and left goes to Eve when its time is over; before that there is nothing for Eve."""
    finished(database, judged([0.5]), depth=1, owner=LAB)
    enrol(database)
    held, over = Claims(database, seconds=60), Claims(database, seconds=0)
    first = over.take(ADA)
    assert first is not None
    assert taken(held, EVE) == (first.scan_id, 0)
    assert taken(held, ADA) is None
    assert taken(held, EVE) == (first.scan_id, 0), "one's own comes again before there is nothing"


def test_a_slice_is_judged_once_by_each(database: Database) -> None:
    """Ada is through after two; Eve gets both after her, those that nobody judged first; withdrawn is unjudged."""
    finished(database, judged([0.5, 0.4]), depth=2, owner=LAB)
    enrol(database)
    claims = Claims(database)
    first = claims.take(ADA)
    assert first is not None and first.offer.slice_index == 0
    said = say(database, ADA, first)
    assert claims.waiting(EVE) == (1, 2)
    assert taken(claims, EVE) == (first.scan_id, 1)
    second = claims.take(EVE)
    assert second is not None and second.offer.slice_index == 0
    for claim in (second, Claim(first.scan_id, first.offer, 0)):
        say(database, EVE, claim)
    Records(database).withdraw(ADA, said)
    assert claims.waiting(ADA) == (1, 2)


def test_what_was_skipped_still_waits_for_others(database: Database) -> None:
    """Ada skips the only slice: nothing is left for her, and for Eve it is as new."""
    finished(database, judged([0.5]), depth=1, owner=LAB)
    enrol(database)
    claims = Claims(database)
    claim = claims.take(ADA)
    assert claim is not None
    say(database, ADA, claim, "skip")
    assert claims.take(ADA) is None
    assert claims.waiting(EVE) == (1, 1)
    assert taken(claims, EVE) == (claim.scan_id, 0)


def test_no_scan_dominates(database: Database) -> None:
    """Three very uncertain slices of one scan, two less so of another: they take turns by what they are worth.

    1.0, then 0.8 of the other (before 0.98 / 2), then 0.98 / 2, then 0.7 / 2 before 0.96 / 3 = 0.32.
    """
    one = finished(database, judged([0.5, 0.49, 0.48]), depth=3, owner=LAB)
    other = finished(database, judged([0.4, 0.35]), depth=2, owner=LAB)
    enrol(database)
    claims = Claims(database)
    assert [taken(claims, ADA) for _ in range(5)] == [
        (one.id, 0),
        (other.id, 0),
        (one.id, 1),
        (other.id, 1),
        (one.id, 2),
    ]


def test_folders_and_organs_take_turns(database: Database) -> None:
    """Of scans as uncertain as each other, after one of day 1 comes one of day 2; after a heart comes an eye."""
    days = [finished(database, judged([0.5]), depth=1, owner=LAB, folder=day).id for day in ("1", "1", "2")]
    enrol(database)
    claims = Claims(database)
    order = [taken(claims, ADA) for _ in range(3)]
    folders = dict(zip(days, ("1", "1", "2"), strict=True))
    assert {folders[found[0]] for found in order[:2] if found} == {"1", "2"}


def test_organs_take_turns(database: Database) -> None:
    """Two scans whose hearts are doubtful, and one whose eye is, a little less so: it is second."""
    hearts = [finished(database, judged([0.5], [(0.2, 0.9)]), depth=1, owner=LAB).id for _ in range(2)]
    eye = finished(database, judged([0.5], [(0.9, 0.25)]), depth=1, owner=LAB).id
    enrol(database)
    claims = Claims(database)
    order = [found[0] for found in (taken(claims, ADA) for _ in range(3)) if found]
    assert order[0] in hearts and order[1] == eye and order[2] in hearts


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        (ADA, True),
        (reviewer("lab"), True),
        (reviewer("eve"), False),
        (reviewer("eve", reviews=["other"]), False),
        (reviewer("eve", reviews=["*"]), True),
        (reviewer("root", "admin"), True),
        (reviewer("eve", "segment", reviews=["lab"]), False),
        (ANYONE, True),
    ],
)
def test_a_reviewer_is_given_scans_that_it_may_review(database: Database, who: Identity, *, sees: bool) -> None:
    """One's own, those that the key names, and an admin's all; without the scope what a key names is nothing."""
    finished(database, judged([0.5]), depth=1, owner=LAB)
    enrol(database)
    assert (Claims(database).take(who) is not None) == sees
    assert Claims(database).waiting(who) == ((1, 1) if sees else (0, 0))


def test_what_came_without_a_key_is_the_admins(database: Database) -> None:
    """Also from a reviewer of every owner: it has none."""
    finished(database, judged([0.5]), depth=1)
    enrol(database)
    assert Claims(database).take(reviewer("eve", reviews=["*"])) is None
    assert Claims(database).take(ANYONE) is not None


def test_a_scan_that_is_gone_offers_nothing(database: Database) -> None:
    """Nor does one that is being made again; once it is, it is enrolled anew, with the looks that there were."""
    jobs = Jobs(database, owner="server")
    scan = finished(database, judged([0.5, 0.5]), depth=2, owner=LAB)
    enrol(database)
    claim = Claims(database).take(ADA)
    assert claim is not None
    say(database, ADA, claim)
    assert jobs.remake(scan.id, "damaged")
    assert Claims(database).take(EVE) is None
    worker = leases(database, "server")
    lease = worker.take(Priority.NORMAL)
    assert lease is not None
    worker.succeed(lease)
    assert enrol(database) == 1
    assert Claims(database).waiting(EVE) == (1, 2)
    jobs.remove(scan.id)
    jobs.forget([scan.id])
    assert Claims(database).take(EVE) is None
    sweep(database)
    assert Claims(database).waiting(EVE) == (0, 0)
