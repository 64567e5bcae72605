"""Changes of grey values: what each does, that SciPy does the same, and that devices and processes agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy_patches import changed_grey_values

from scans.organs import NOT_LABELLED
from tests.training.tiny_volumes import STILL
from training.learning.augmentation import draw_grey_change
from training.learning.grey_values import GreyChanges, change_grey_values
from training.learning.noise import normal_noise

STRONG = replace(
    STILL, contrast=0.3, brightness=0.2, noise=0.1, class_contrast=0.3, gamma=0.5, blur=3.0, low_resolution=4.0
)
PATCH = np.linspace(0.2, 0.6, 16, dtype=np.float32).reshape(4, 4)
CLASSES = np.array([[0, 0, 1, 1]] * 4, dtype=np.uint8)


def changed(patch: np.ndarray, labels: np.ndarray, seeds: list[int], **augmentation: float) -> np.ndarray:
    """(N, S, S): the same patch, changed as each seed says."""
    stated = replace(STILL, **augmentation)
    generators = [np.random.default_rng(seed) for seed in seeds]
    drawn = [draw_grey_change(stated, rng, side=len(patch), classes=2, by_class=True) for rng in generators]
    patches = torch.from_numpy(patch).expand(len(seeds), 1, *patch.shape)
    of_labels = torch.from_numpy(labels).expand(len(seeds), *labels.shape)
    return change_grey_values(patches, of_labels, GreyChanges.of(drawn, stated))[:, 0].numpy()


@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=5), side=st.sampled_from([5, 12, 33]))
def test_batches_are_changed_as_scipy_changes_their_patches(seeds: list[int], side: int) -> None:
    """Every change at once, in patches with pixels that nobody has looked at; also where a blur is wider than the
    patch."""
    rng = np.random.default_rng(seeds)
    patches = rng.random((len(seeds), side, side), dtype=np.float32)
    labels = rng.choice(np.array([0, 1, 2, NOT_LABELLED], dtype=np.uint8), patches.shape)
    drawn = [draw_grey_change(STRONG, np.random.default_rng(s), side=side, classes=3, by_class=True) for s in seeds]
    changes = GreyChanges.of(drawn, STRONG)
    found = change_grey_values(torch.from_numpy(patches).unsqueeze(1), torch.from_numpy(labels), changes)[:, 0]
    noise = normal_noise(changes.keys, count=side * side).view(-1, side, side).numpy()
    for patch, one in enumerate(drawn):
        expected = changed_grey_values(patches[patch], labels[patch], one, noise[patch])
        assert np.allclose(found[patch].numpy(), expected, atol=1e-3)


def test_grey_values_are_left_alone_when_everything_is_switched_off() -> None:
    """Not a value changes but for rounding."""
    assert np.allclose(changed(PATCH, CLASSES, [0, 1]), PATCH, atol=1e-6)


@given(seed=st.integers(0, 2**32))
def test_changed_grey_values_stay_normalised(seed: int) -> None:
    """Whatever is drawn, the network sees float32 values from 0 to 1, as it will when it serves."""
    strong = replace(
        STRONG, contrast=0.9, brightness=0.9, noise=0.9, class_contrast=0.9, gamma=4.0, low_resolution=15.0
    )
    found = changed(np.random.default_rng(seed).random((4, 4), dtype=np.float32), CLASSES, [seed], **vars(strong))
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


@given(seed=st.integers(0, 2**32))
def test_a_class_gets_a_contrast_and_a_brightness_of_its_own(seed: int) -> None:
    """Within a class the differences are those of before times one factor, within limits; the classes' differ."""
    (patch,) = changed(PATCH, CLASSES, [seed], class_contrast=0.3)
    factors = [np.ptp(patch[class_ == CLASSES]) / np.ptp(PATCH[class_ == CLASSES]) for class_ in (0, 1)]
    assert all(0.7 <= factor <= 1.3 for factor in factors)
    assert factors[0] != factors[1]
    for class_, factor in enumerate(factors):
        old, new = PATCH[class_ == CLASSES], patch[class_ == CLASSES]
        assert np.allclose(new - new.mean(), factor * (old - old.mean()), atol=1e-5)
        assert 0.699 <= new.mean() / old.mean() <= 1.301


@given(seed=st.integers(0, 2**32))
def test_gamma_is_one_exponent_for_the_patch(seed: int) -> None:
    """Between 1 / 1.5 and 1.5: what was in order stays so."""
    exponents = np.log(changed(PATCH, CLASSES, [seed], gamma=0.5)[0]) / np.log(PATCH)
    assert np.allclose(exponents, exponents[0, 0], atol=1e-4)
    assert 1 / 1.501 <= exponents[0, 0] <= 1.501


@pytest.mark.parametrize("way", ["blur", "low_resolution"])
def test_half_of_the_patches_lose_detail_and_keep_their_size(way: str) -> None:
    """A chequered patch is as it was in about half of 200 draws, and else no less flat, most often by much."""
    board = np.indices((16, 16)).sum(axis=0).astype(np.float32) % 2
    patches = changed(board, np.zeros((16, 16), dtype=np.uint8), list(range(200)), **{way: 3.0})
    without = [patch for patch in patches if not np.allclose(patch, board, atol=1e-6)]
    assert 60 <= len(without) <= 130
    assert all(patch.std() <= board.std() + 1e-6 for patch in without)
    assert np.median([patch.std() for patch in without]) < 0.3


def test_what_is_switched_off_draws_nothing() -> None:
    """Results of before come out again: contrast, brightness and noise are drawn as if the others were not there."""
    rng, beside = np.random.default_rng(3), np.random.default_rng(3)
    draw_grey_change(replace(STILL, noise=0.1), rng, side=4, classes=2, by_class=True)
    beside.uniform(-1, 1, size=3), beside.integers(2**32, size=2)
    assert rng.random() == beside.random()


def test_noise_is_worked_out_and_normal() -> None:
    """By hand for one value, with the numbers of NumPy; a million of it have the mean, spread, tails and neighbours of
    normal numbers, and two keys that differ in a bit have nothing in common."""

    def mixed(place: int, first: int, second: int) -> int:
        x = place ^ first
        x = ((x ^ (x >> 16)) * 0x7FEB352D + second) % 2**32
        x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
        return x ^ (x >> 16)

    keys = torch.tensor([[2**32 - 5, 17], [2**32 - 6, 17]])
    small = normal_noise(keys, count=7)
    uniform = [((mixed(place, 2**32 - 5, 17) >> 8) + 0.5) / 2**24 for place in (2, 6)]
    assert small[0, 2].item() == pytest.approx(
        np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1]), abs=1e-5
    )
    noise = normal_noise(keys, count=1_000_000)
    for row in noise.double():
        assert abs(row.mean().item()) < 0.004
        assert abs(row.std().item() - 1) < 0.003
        assert abs((row.abs() > 1.96).double().mean().item() - 0.05) < 0.001
        assert abs((row[1:] * row[:-1]).mean().item()) < 0.004
    assert abs((noise[0] * noise[1]).double().mean().item()) < 0.004
