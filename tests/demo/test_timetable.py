"""How long the rest will take is said from the first line on, and what was seen of this machine counts."""

from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from demo.parts import Parts
from demo.pipeline import Announcer
from demo.timetable import PARTS, STAGES, Timetable, about, clock
from training import stages


def test_at_first_the_rest_is_what_it_takes_as_a_rule() -> None:
    """Two steps of 20 and 40 seconds: a minute."""
    assert Timetable({"one": 20, "two": 40}).seconds_left == 60


def test_a_machine_that_is_slow_so_far_is_expected_to_stay_so() -> None:
    """A step of 20 seconds took 80: with ten seconds of trust in the rule, the rest is thought three times as long."""
    timetable = Timetable({"one": 20, "two": 40})
    timetable.done("one", 80)
    assert timetable.seconds_left == pytest.approx(40 * (80 + 10) / (20 + 10))


def test_a_step_that_is_left_out_says_nothing_of_the_machine() -> None:
    """It is gone from the rest, whose length stays; one that was never there is no error."""
    timetable = Timetable({"one": 20, "two": 40})
    timetable.left_out("one")
    timetable.left_out("other")
    assert timetable.seconds_left == 40


def test_every_stage_of_the_pipeline_has_its_time_in_order() -> None:
    """The timetable's stages are those of dvc.yaml."""
    pipeline = yaml.safe_load((Path(stages.__file__).parents[2] / "dvc.yaml").read_text())
    assert list(STAGES) == list(pipeline["stages"])


def test_each_stage_is_announced_with_its_number_and_the_rest() -> None:
    """A log shows where it stands without a terminal: DVC's own lines stay, but for the one that is said better."""
    written = StringIO()
    timetable = Timetable({**STAGES, **PARTS})
    announcer = Announcer(Console(file=written, width=120), timetable)
    announcer.heard("Stage 'prepare' didn't change, skipping")
    announcer.heard("Stage 'train_teacher' is cached - skipping run, checking out outputs")
    before = about(timetable.seconds_left)
    announcer.heard("Running stage 'pseudo_label':")
    announcer.heard("> python -m training.stages.pseudo_label")
    announcer.ended()
    announcer.heard("Running stage 'label_quality':")
    lines = [line.rstrip(" ─") for line in written.getvalue().splitlines()]
    assert lines[2] == f"stage 4 of 12: pseudo_label, {before} left"
    assert lines[3] == "> python -m training.stages.pseudo_label"
    assert lines[4].startswith("stage 5 of 12: label_quality, about ")
    assert sum([*STAGES.values(), *PARTS.values()]) - STAGES["prepare"] - STAGES["train_teacher"] > (
        timetable.seconds_left
    )


def test_a_part_is_announced_with_the_rest_and_is_no_longer_part_of_it() -> None:
    """`server, about 30 s left`; after it, the request alone is left."""
    written = StringIO()
    timetable = Timetable({"server": 20, "request": 10})
    with Parts(Console(file=written, width=80), timetable).part("server: ricefish serve", step="server"):
        pass
    assert "server: ricefish serve, about 30 s left" in written.getvalue()
    assert timetable.seconds_left == pytest.approx(10 * 10 / 30, rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "about 5 s"), (12, "about 10 s"), (58, "about 1 min 00 s"), (141, "about 2 min 20 s")]
)
def test_an_estimate_is_no_finer_than_it_is_good(seconds: float, said: str) -> None:
    """Five seconds are the least step; a minute is a minute."""
    assert about(seconds) == said


def test_a_time_is_written_as_people_say_it() -> None:
    """Tenths below a minute, none above."""
    assert [clock(4.21), clock(65.2)] == ["4.2 s", "1 min 05 s"]
