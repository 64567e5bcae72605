"""torchrun on two processes trains Teacher and Student with DistributedDataParallel, as the stages are really run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.training.tiny_volumes import tiny_data_set
from training.learning.checkpoints import STUDENT, TEACHER, load_network, read_details

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small fish and a params.yaml with a short schedule."""
    folder = tmp_path_factory.mktemp("distributed")
    tiny_data_set(folder)
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    schedule = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 4, "learning_rate": 0.001, "one_cycle": True}
    short = {stage: {"workers": 0, "schedule": schedule} for stage in ("train_teacher", "train_student")}
    short["train_teacher"]["encoder_depth"] = 3
    short["train_student"]["teacher_checkpoint"] = False
    tiny = {"sampling": {"crop": 32}, **short}
    (folder / "params.yaml").write_text(yaml.safe_dump({**content, "profile": "tiny", "profiles": {"tiny": tiny}}))
    return folder


TORCHRUN = """
import sys
import mlflow
import training.stages.train_student, training.stages.train_teacher
from torch.distributed.run import main

for path in sys.argv[1:]:
    main(["--standalone", "--nproc-per-node=2", "--start-method=fork", "--run-path", path])
"""
"""`torchrun` for one stage after another, whose processes need not import anew: they are forks of this one."""


def torchrun(stages: Sequence[str], *, root: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    ended = subprocess.run(
        [sys.executable, "-c", TORCHRUN, *(str(REPOSITORY / f"training/stages/{stage}.py") for stage in stages)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=420,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.mark.timeout(900)  # importing torch takes minutes where others want the cores too
def test_two_processes_train_teacher_and_student(root: Path) -> None:
    """One checkpoint, one line an epoch, the steps of one process; a Student with new weights has both schedules."""
    output = torchrun(["train_teacher", "train_student"], root=root)
    for stage, checkpoint, schedules in (
        ("train_teacher", TEACHER, ("train_teacher",)),
        ("train_student", STUDENT, ("train_student_from_new", "train_student")),
    ):
        for schedule in schedules:
            assert output.count(f"{schedule}: epoch 1 of 2") == 1
            assert output.count(f"{schedule}: epoch 2 of 2") == 1
        assert json.loads((root / "metrics" / f"{stage}.json").read_text())["steps"] == 4 * len(schedules)
        assert read_details(root / checkpoint)["stage"] == stage
        assert not load_network(root / checkpoint).training
    assert list((root / ".resume").iterdir()) == []
