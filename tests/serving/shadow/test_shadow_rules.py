"""What a shadow goes by: which scans, which organs, and when it is quiet."""

from __future__ import annotations

import time
import uuid

import numpy as np
import pytest

from scans.organs import OrganMap
from serving.inference.scheduling import Urgency
from serving.shadow.agreement import Matching, NothingInCommon, OrganAgreement
from serving.shadow.idleness import Idleness
from serving.shadow.sampling import is_sampled


def test_a_share_of_all_ids_is_taken_and_always_the_same() -> None:
    """A tenth within what chance allows; whoever is in a tenth is in a half; the next process says the same."""
    ids = [uuid.UUID(int=n).hex for n in range(10_000)]
    tenth = {one for one in ids if is_sampled(one, 0.1)}
    assert 850 < len(tenth) < 1150
    assert tenth == {one for one in ids if is_sampled(one, 0.1)}
    assert tenth < {one for one in ids if is_sampled(one, 0.5)}


def test_organs_are_matched_by_name() -> None:
    """Champion 1 heart, 2 eye, 3 liver; shadow 1 eye, 2 heart, 3 gut. Liver and gut are not compared.

    Champion   heart heart eye liver heart none
    shadow     heart none  eye heart eye   gut
    heart: both 1, shadow alone 1 (on liver), champion alone 2. Eye: both 1, shadow alone 1.
    """
    matching = Matching.of(
        champion=OrganMap.from_mapping({1: "heart", 2: "eye", 3: "liver"}),
        shadow=OrganMap.from_mapping({1: "eye", 2: "heart", 3: "gut"}),
    )
    champion, shadow = np.array([[[1, 1, 2, 3, 1, 0]]], np.uint8), np.array([[[2, 0, 1, 2, 1, 3]]], np.uint8)
    found = matching.none() + matching.compare(champion=champion, shadow=shadow)
    assert found.to_dict() == {"heart": [1, 1, 2], "eye": [1, 1, 0]}
    assert found.dice == {"heart": pytest.approx(2 / 5), "eye": pytest.approx(2 / 3)}
    assert OrganAgreement.from_dict(found.to_dict()).dice == found.dice
    with pytest.raises(NothingInCommon, match="no organ of the same name"):
        Matching.of(champion=OrganMap.from_mapping({1: "heart"}), shadow=OrganMap.from_mapping({1: "gut"}))


def test_it_is_quiet_only_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while a scan is worked on or a slice waits, nor within a second of a single slice; its own do not count."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    busy, last, depth = [False], [0.0], {Urgency.SLICE: 0, Urgency.BACKLOG: 0, Urgency.SHADOW: 4}
    quiet = Idleness(busy=lambda: busy[0], depth=lambda: depth, last_slice_seconds=lambda: last[0])
    assert quiet()
    busy[0] = True
    assert not quiet()
    busy[0] = False
    depth[Urgency.BACKLOG] = 1
    assert not quiet()
    depth[Urgency.BACKLOG] = 0
    last[0] = now[0]
    assert not quiet()
    now[0] += 1.0
    assert quiet()
