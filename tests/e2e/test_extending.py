"""docs/extending.md is true: each of its changes, made in a copy of the repository, does what the page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.extending_page import Block, copy_with, sections

PROFILE = """
from pathlib import Path
from training.params import load_params

text = Path("params.yaml").read_text()
Path("zebrafish.yaml").write_text(text.replace("profile: demo", "profile: zebrafish"))
params = load_params(Path("zebrafish.yaml"))
assert params.train_teacher.sampling.crop == params.train_student.sampling.crop == 512
assert (params.train_teacher.augmentation.mirror_x, params.train_teacher.augmentation.mirror_y) == (0.0, 0.0)
assert (params.train_teacher.schedule.epochs, params.train_student.schedule.epochs) == (30, 5)
assert (params.train_teacher.workers, params.label_quality.sampling.crop) == (8, 512)
"""

AUGMENTATION = """
import dataclasses
from pathlib import Path
import numpy as np
import torch
from training.learning.augmentation import draw_grey_change
from training.learning.grey_values import GreyChanges, change_grey_values
from training.params import load_params

stated = load_params(Path("params.yaml")).train_teacher.augmentation
assert stated.shading == 0.3
alone = dataclasses.replace(stated, contrast=0, brightness=0, noise=0)
patches = torch.ones(2, 1, 5, 5)

def changed(augmentation):
    drawn = [draw_grey_change(augmentation, np.random.default_rng(seed), side=5) for seed in (0, 1)]
    return change_grey_values(patches, None, GreyChanges.of(drawn, augmentation))

first, second = changed(alone)[:, 0, 0].numpy()
for row in (first, second):
    np.testing.assert_allclose(row, np.linspace(1, row[4], 5), rtol=1e-6)
    assert 0.7 <= row[4] < 1
assert first[4] != second[4]
assert torch.equal(changed(dataclasses.replace(alone, shading=0)), patches)
"""

LOSS = """
from pathlib import Path
import torch
from training.learning.losses import focal_loss, supervised_loss
from training.params import load_params

params = load_params(Path("params.yaml"))
assert params.train_teacher.focal_weight == params.train_student.focal_weight == 0.5
half = torch.zeros(1, 2, 1, 1)
label = torch.zeros(1, 1, 1, dtype=torch.uint8)
torch.testing.assert_close(focal_loss(half, label), torch.tensor(0.25 * 0.693147))  # (1 - 1/2)^2 ln 2
torch.manual_seed(0)
network, images = torch.nn.Conv2d(1, 3, 3, padding=1), torch.rand(2, 1, 8, 8)
labels = (images[:, 0] * 3).to(torch.uint8)
optimiser, seen = torch.optim.Adam(network.parameters(), lr=0.05), []
for _ in range(20):
    losses = supervised_loss(network(images), labels, dice_weight=0.0, focal_weight=0.5)
    optimiser.zero_grad()
    losses["loss"].backward()
    optimiser.step()
    seen.append({name: value.item() for name, value in losses.items()})
assert abs(seen[0]["loss"] - seen[0]["cross_entropy"] - 0.5 * seen[0]["focal_loss"]) < 1e-6
assert seen[-1]["focal_loss"] < 0.8 * seen[0]["focal_loss"], (seen[0], seen[-1])
import training.learning.supervised
"""

ENCODER = """
from pathlib import Path
import torch
from training.learning.networks import Architecture, build_unet
from training.params import load_params

section = load_params(Path("params.yaml")).train_teacher
network = build_unet(Architecture(section.encoder, section.encoder_depth, organs=2)).eval()
assert type(network.unet.encoder).__name__ == "EfficientNetEncoder"
with torch.no_grad():
    assert network(torch.zeros(1, 1, 40, 56)).shape == (1, 3, 40, 56)
"""

FORMAT = """
import io
from pathlib import Path
import numpy as np
from scans.formats import ACCEPTED, FormatError, SpacingMissing, create_volume, open_volume, stem, stream_volume
from scans.geometry import Frame, Spacing

voxels = np.random.default_rng(0).integers(0, 900, (5, 6, 7), np.uint16)
spacing, path, stream = Spacing(0.3, 0.2, 0.1), Path("fish.npy"), io.BytesIO()
about = {"shape": voxels.shape, "dtype": voxels.dtype, "frame": Frame.from_lps(spacing)}
with create_volume(path, **about) as writer:
    writer.write(voxels[:2])
    writer.write(voxels[2:])
with stream_volume(stream, suffix=".npy", **about) as writer:
    writer.write(voxels)
np.testing.assert_array_equal(np.load(path), voxels)
assert stream.getvalue() == path.read_bytes()
with open_volume(path, spacing=spacing) as volume:
    np.testing.assert_array_equal(volume.read(), voxels)
    np.testing.assert_array_equal(volume.slab(1, 3), voxels[1:3])
    assert tuple(volume.spacing) == tuple(spacing)
assert "NumPy (.npy)" in ACCEPTED and stem(path) == "fish"
for damage, error in ((b"", SpacingMissing), (b"1", FormatError)):
    path.write_bytes(path.read_bytes()[: -len(damage) or None])
    try:
        with open_volume(path):
            raise AssertionError("opened")
    except error:
        pass
"""

ROUTE = """
from fastapi.testclient import TestClient
from serving.app import create_app
from serving.settings import Settings

app = create_app(Settings(model="models/student", store="store"))
answer = TestClient(app).get("/v1/formats")
assert answer.status_code == 200, answer.text
assert answer.json()["tif"] == "image/tiff", answer.json()
assert "/v1/formats" in app.openapi()["paths"]
assert app.openapi()["paths"]["/v1/formats"]["get"]["security"] == []
"""

PROOFS = {
    "A fourth profile": PROFILE,
    "A new augmentation": AUGMENTATION,
    "A new loss": LOSS,
    "Another encoder": ENCODER,
    "Another file format": FORMAT,
    "Another route": ROUTE,
}


def test_the_page_has_a_proof_for_each_section() -> None:
    """Nobody adds one without a program that shows it."""
    assert list(sections()) == list(PROOFS)
    assert all(sections().values())


@pytest.mark.process
@pytest.mark.parametrize("section", PROOFS)
def test_a_change_of_the_page_does_what_it_says(section: str, tmp_path: Path) -> None:
    """The blocks can be applied, are in the project's style, and a program that uses the change runs."""
    root = copy_with(section, tmp_path)
    proof = f"import scans\nassert scans.__file__.startswith({str(root)!r}), scans.__file__\n{PROOFS[section]}"
    done = subprocess.run([sys.executable, "-c", proof], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changed = sorted({block.path for block in sections()[section] if block.path.endswith(".py")})
    for command in (["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"]) if changed else ():
        styled = subprocess.run([*command, *changed], cwd=root, capture_output=True, text=True, check=False)
        assert styled.returncode == 0, styled.stdout


def test_a_block_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """Lines that have changed since are named; so is a new file that has come to be."""
    (tmp_path / "a.py").write_text("x = 1\n")
    Block.read("diff", "--- a.py\n-x = 1\n+x = 2\n").apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 2\n"
    with pytest.raises(ValueError, match="a\\.py has 0 times"):
        Block.read("diff", "--- a.py\n-x = 1\n+x = 2\n").apply(tmp_path)
    with pytest.raises(ValueError, match=r"a\.py is there already"):
        Block.read("python", "# a.py\nx = 3\n").apply(tmp_path)
