"""What is said is kept: nothing is written over, and nobody sees or undoes what is not theirs to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from scans.reviews import Verdict
from serving.auth.authentication import NotAllowed
from serving.auth.identity import ANYONE
from serving.review.records import JudgedMask, KeptReview, Records, ReviewFilter, ReviewNotFound
from serving.review.reviewing import pace
from serving.storage.database import Database
from tests.serving.review.finished import reviewer

ADA, EVE, STRANGER = reviewer("ada", reviews=["lab"]), reviewer("eve", reviews=["lab"]), reviewer("mallory")
OF = JudgedMask("s" * 32, "lab", "fish", "z", 3, "0" * 64, "m", "4", "1" * 64)
ALL, HISTORY = ReviewFilter(), ReviewFilter(history=True)


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


def say(records: Records, verdict: Verdict, *, who: str = "ada", organ: str = "", comment: str = "") -> KeptReview:
    return records.add(who, OF, organ=organ, verdict=verdict, comment=comment)[0]


def test_the_same_is_said_once(records: Records) -> None:
    """The same verdict again is the same review; with another comment, or on an organ, it is one more."""
    first, new = records.add("ada", OF, organ="", verdict="bad", comment="blurred")
    again, newer = records.add("ada", OF, organ="", verdict="bad", comment="blurred")
    assert (first.id, new, newer) == (again.id, True, False)
    say(records, "bad", organ="heart", comment="blurred")
    assert len(records.page(ADA, HISTORY, limit=10)) == 2


def test_a_mask_is_kept_once_and_for_good(records: Records) -> None:
    """With the first verdict on it, or with one that was said before masks were kept; a withdrawn one leaves it."""
    assert records.mask_png(OF.mask_sha256) is None
    say(records, "bad")
    assert records.mask_png(OF.mask_sha256) is None
    for png in (b"the mask", b"would be the same"):
        kept, _ = records.add("ada", OF, organ="", verdict="bad", comment="", mask_png=png)
    records.withdraw(ADA, kept.id)
    assert records.mask_png(OF.mask_sha256) == b"the mask"
    assert records.one(ADA, kept.id).ending == "withdrawn"
    with pytest.raises(ReviewNotFound):
        records.one(STRANGER, kept.id)


def test_a_changed_mind_replaces_and_history_stays(records: Records) -> None:
    """Good, then bad, then withdrawn: nothing stands, and all is told, with what became of it."""
    first = say(records, "good")
    second = say(records, "bad")
    assert [review.id for review in records.page(ADA, ALL, limit=10)] == [second.id]
    records.withdraw(ADA, second.id)
    assert records.page(ADA, ALL, limit=10) == []
    told = [(review.id, review.verdict, review.ending) for review in records.page(ADA, HISTORY, limit=10)]
    assert told == [(second.id, "bad", "withdrawn"), (first.id, "good", "replaced")]
    with pytest.raises(ReviewNotFound):
        records.withdraw(ADA, second.id)


def test_one_verdict_stands_whoever_is_quick(records: Records) -> None:
    """Eight threads say good and bad in the same name: one stands, and none is lost."""
    verdicts: list[Verdict] = ["good", "bad"] * 4
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda verdict: say(records, verdict), verdicts))
    assert len(records.page(ADA, ALL, limit=10)) == 1
    assert {review.id for review in said} == {review.id for review in records.page(ADA, HISTORY, limit=10)}


def test_reviewers_withdraw_their_own(records: Records) -> None:
    """Eve sees Ada's and may not undo it; for who may not review the scan it is not there."""
    said = say(records, "good")
    with pytest.raises(NotAllowed, match="ada's"):
        records.withdraw(EVE, said.id)
    with pytest.raises(ReviewNotFound):
        records.withdraw(STRANGER, said.id)
    assert [records.page(who, ALL, limit=9) == [said] for who in (ADA, EVE, ANYONE, STRANGER)] == [True] * 3 + [False]
    with pytest.raises(ReviewNotFound):
        records.page(STRANGER, ALL, limit=9, before=said.id)


def test_pages_follow_one_another(records: Records) -> None:
    """Seven reviews in pages of three, the newest first, each once; all of them by themselves too."""
    said = [say(records, "good", organ=f"organ {n}").id for n in range(7)]
    pages: list[list[str]] = []
    while not pages or pages[-1]:
        before = pages[-1][-1] if pages else None
        pages.append([review.id for review in records.page(ADA, ALL, limit=3, before=before)])
    paged = [review_id for page in pages for review_id in page]
    assert paged == said[::-1] == [review.id for review in records.each(ADA, ALL)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ReviewFilter(reviewer="eve"), ["eve bad"]),
        (ReviewFilter(verdict="good"), ["ada good heart", "ada good"]),
        (ReviewFilter(organ=""), ["eve bad", "ada good"]),
        (ReviewFilter(organ="heart"), ["ada good heart"]),
        (ReviewFilter(scan_id="s" * 32, reviewer="ada", organ="heart"), ["ada good heart"]),
        (ReviewFilter(scan_id="x"), []),
        (ReviewFilter(since=1.0), ["eve bad", "ada good heart", "ada good"]),
        (ReviewFilter(since=4e9), []),
    ],
)
def test_filters(records: Records, wanted: ReviewFilter, found: list[str]) -> None:
    """Each condition by itself, and several together."""
    say(records, "good")
    say(records, "good", organ="heart")
    say(records, "bad", who="eve")
    shown = [
        f"{review.reviewer} {review.verdict} {review.organ}".strip() for review in records.page(ADA, wanted, limit=9)
    ]
    assert shown == found


def test_verdicts_are_counted_by_reviewer(records: Records) -> None:
    """Those that stand, of each kind; nothing of scans that one may not review."""
    say(records, "good")
    say(records, "bad")
    say(records, "unsure", organ="heart")
    say(records, "skip", who="eve")
    assert records.counts(EVE) == {"ada": {"bad": 1, "unsure": 1}, "eve": {"skip": 1}}
    assert records.counts(STRANGER) == {}
    assert {name: len(times) for name, times in records.moments(ADA, seconds=60).items()} == {"ada": 2, "eve": 1}


def test_a_pause_is_no_work() -> None:
    """Ten seconds, then an hour at lunch, then twenty: two verdicts in thirty seconds, 240 an hour."""
    assert pace([0, 10, 3610, 3630]) == 240
    assert pace([5]) is None is pace([])
