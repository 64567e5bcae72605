"""Ranges of bytes, as a request states them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.ranges import RangeNotSatisfiable, asked_range, has_changed

TAG = '"a1"'


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=8-100", (8, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-100", (0, 10)),
        ("bytes= 2-3 ", (2, 4)),
        *((whole, None) for whole in ("bytes=0-1,3-4", "bytes=5-2", "lines=0-1", "bytes=-", "bytes=a-b", "", "bytes")),
    ],
)
def test_one_range_of_ten_bytes(stated: str, expected: tuple[int, int] | None) -> None:
    """First and last, from a place on, the last n; what is no single range is passed over, as RFC 9110 allows."""
    assert asked_range({"range": stated}, size=10, tag=TAG) == expected


@pytest.mark.parametrize("stated", ["bytes=10-", "bytes=10-12", "bytes=-0", f"bytes={10**18}-"])
def test_a_range_behind_the_end_is_refused(stated: str) -> None:
    """With the size of the file, which the answer names."""
    with pytest.raises(RangeNotSatisfiable) as refused:
        asked_range({"range": stated}, size=10, tag=TAG)
    assert refused.value.size == 10


@given(st.binary(min_size=1, max_size=40), st.integers(0, 50), st.integers(0, 50))
def test_what_is_asked_for_is_what_python_cuts_out(content: bytes, first: int, last: int) -> None:
    """For every file and every pair of numbers."""
    wanted = content[first : last + 1]
    try:
        found = asked_range({"range": f"bytes={first}-{last}"}, size=len(content), tag=TAG)
    except RangeNotSatisfiable:
        assert first <= last and not wanted
        return
    assert found is None if last < first else content[slice(*found or (0, 0))] == wanted


def test_a_range_of_another_version_gets_the_whole_file() -> None:
    """If-Range of this version keeps the range; of another one, or a date, it does not."""
    stated = {"range": "bytes=0-1"}
    assert asked_range({**stated, "if-range": TAG}, size=10, tag=TAG) == (0, 2)
    for other in ('"b2"', f"W/{TAG}", "Mon, 30 Nov 2026 00:00:00 GMT"):
        assert asked_range({**stated, "if-range": other}, size=10, tag=TAG) is None


def test_who_has_this_version_need_not_be_sent_it() -> None:
    """By any of the tags that are named, weak or strong, or by a star."""
    assert has_changed({}, TAG) and has_changed({"if-none-match": '"b2", "c3"'}, TAG)
    for stated in (TAG, f'"b2", {TAG}', f"W/{TAG}", "*"):
        assert not has_changed({"if-none-match": stated}, TAG)
