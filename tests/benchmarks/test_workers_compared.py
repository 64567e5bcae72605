"""Two workers against one: what is made of the measured rounds."""

from benchmarks.workers import ratio


def test_the_ratio_is_of_the_medians() -> None:
    """One slow round of three counts for nothing."""
    rows = [
        {"workers": crowd, "slices_per_second": rate}
        for crowd, rates in ((1, (10.0, 9.0, 2.0)), (2, (16.0, 18.0, 30.0)))
        for rate in rates
    ]
    assert ratio(rows) == 2.0
