"""What `ricefish plan` would have said of scans that were measured."""

from __future__ import annotations

import pytest

from benchmarks.predictions import predictions
from ricefish.planning.capacity import Rates
from ricefish.planning.rates import Measured


def test_a_scan_is_predicted_from_what_the_same_network_took() -> None:
    """At 2 ns a voxel, 10 gigavoxels take 20 s where 25 were measured: a fifth too few; of another network, nothing."""
    slow = Rates(read=1e-9, prepare=0.0, infer=2e-9, write=1e-9, source="by hand")
    fast = Rates(read=1e-9, prepare=0.0, infer=1e-9, write=1e-9, source="by hand")
    measured = [
        Measured("short", "unet", voxels=1e9, seconds=2.0, rates=slow),
        Measured("long", "unet", voxels=10e9, seconds=25.0, rates=slow),
        Measured("other", "tiny", voxels=1e9, seconds=1.0, rates=fast),
    ]
    found = {(one.by, one.of): one.error for one in predictions(measured)}
    assert set(found) == {(by, of) for by in ("short", "long") for of in ("short", "long")} | {("other", "other")}
    assert found["short", "long"] == pytest.approx(-0.2)
    assert found["short", "short"] == found["other", "other"] == pytest.approx(0.0)
