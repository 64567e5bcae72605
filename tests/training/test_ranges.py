"""Every value of params.yaml has a range, and what lies outside is refused by name before a stage begins.

What is drawn comes from the declarations in training/params.py, so that a new parameter is among them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.params import Params, load_params
from training.profiles import ParamsError, Stated, parse, to_tree
from training.ranges import PlainName, Range
from training.run_stage import run_stage

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@dataclass(frozen=True)
class Parameter:
    """One value of a section, and what is declared of it."""

    keys: tuple[str, ...]
    kind: Any
    bounds: tuple[Any, ...]

    @property
    def address(self) -> str:
        return ".".join(self.keys)


def parameters(section: Any = Params, keys: tuple[str, ...] = ()) -> Iterator[Parameter]:
    for key, hint in typing.get_type_hints(section, include_extras=True).items():
        kind, *bounds = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        if dataclasses.is_dataclass(kind):
            yield from parameters(kind, (*keys, key))
        else:
            yield Parameter((*keys, key), kind, tuple(bounds))


ALL = [parameter for parameter in parameters() if parameter.address != "prepare.raw_dir"]
NUMBERS = [parameter for parameter in ALL if parameter.kind in (int, float)]
TEXTS = [parameter for parameter in ALL if parameter.kind is str]


@cache
def in_force() -> dict[str, Any]:
    return to_tree(load_params(PARAMS))


def load(parameter: Parameter, value: Any) -> Params:
    """The parameters where one has another value, as they are when the file has been read."""
    whole = copy.deepcopy(in_force())
    section = whole
    for key in parameter.keys[:-1]:
        section = section[key]
    section[parameter.keys[-1]] = value
    return typing.cast("Params", parse(Params, Stated.read(whole, "")))


def numbers_outside(parameter: Parameter) -> st.SearchStrategy[Any]:
    (bound,) = parameter.bounds
    below = bound.least if bound.open_below else math.nextafter(bound.least, -math.inf)
    above = bound.most if bound.open_above else math.nextafter(bound.most, math.inf)
    whole = st.integers(max_value=math.floor(below)) | st.integers(min_value=math.ceil(above))
    if parameter.kind is int:
        return whole
    strange = st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -(10**400)])
    return whole | strange | st.floats(max_value=below) | st.floats(min_value=above)


OTHER_TYPES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(alphabet="abcxyz ", min_size=1),
    st.lists(st.integers()),
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers()),
    st.dates(),
)


def ids(parameter: Parameter) -> str:
    return parameter.address


def test_every_number_has_a_range_and_every_text_a_form() -> None:
    """Both ends are finite; what is neither is a switch or one of a few words."""
    for parameter in NUMBERS:
        assert len(parameter.bounds) == 1, f"{parameter.address} has no range; state one in training/params.py"
        (bound,) = parameter.bounds
        assert isinstance(bound, Range) and math.isfinite(bound.least) and math.isfinite(bound.most), parameter.address
    assert all(any(isinstance(bound, PlainName) for bound in text.bounds) for text in TEXTS)
    others = [one for one in ALL if one not in NUMBERS and one not in TEXTS]
    assert all(
        one.kind is bool or one.address in ("export.precisions", "pseudo_label.mirror", "pseudo_label.second_teacher")
        for one in others
    ), others


@pytest.mark.parametrize("parameter", NUMBERS, ids=ids)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_number_outside_is_refused_by_name(parameter: Parameter, data: st.DataObject) -> None:
    """The address, the value and the range are in the message, on one line."""
    value = data.draw(numbers_outside(parameter))
    with pytest.raises(ParamsError) as refused:
        load(parameter, value)
    message = str(refused.value)
    assert message.startswith(f"{parameter.address} is ") and "expected" in message and "\n" not in message
    if abs(value) < 1e300:
        assert re.escape(repr(parameter.kind(value))) in re.escape(message)
        assert message.endswith(str(parameter.bounds[0]))


@pytest.mark.parametrize("parameter", ALL, ids=ids)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_a_value_of_another_type_is_refused_by_name(parameter: Parameter, data: st.DataObject) -> None:
    """Neither text for a number, nor a switch, nor a list, nor nothing at all."""
    value = data.draw(OTHER_TYPES.filter(lambda drawn: not isinstance(drawn, (str, bool)) or parameter.kind is int))
    if value == [] and parameter.address == "export.precisions":
        return
    with pytest.raises(ParamsError, match=rf"^{re.escape(parameter.address)}(\[0\])? is .*expected"):
        load(parameter, value)


ALONE = [one for one in NUMBERS if not one.address.endswith("_percentile") and "phantoms" not in one.keys]
"""Those whose value says nothing of another's."""


@pytest.mark.parametrize("parameter", ALONE, ids=ids)
def test_the_ends_of_a_range_are_inside(parameter: Parameter) -> None:
    """Unless they are said to be open."""
    (bound,) = parameter.bounds
    for end, is_open in ((bound.least, bound.open_below), (bound.most, bound.open_above)):
        if not is_open:
            assert load(parameter, end)


@pytest.mark.parametrize("text", ["", " ", "a b", "../../etc", "-x", "a" * 101, "größe", "x\n"])
def test_a_name_that_no_file_or_registry_could_have_is_refused(text: str) -> None:
    """For each parameter that is text."""
    for parameter in TEXTS:
        if not text and parameter.address == "prepare.data_set":
            continue  # as the raw folder is called
        with pytest.raises(ParamsError, match=rf"^{re.escape(parameter.address)} is .*expected a name"):
            load(parameter, text)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("prepare", "lower_percentile"), 99.9, r"^prepare: lower_percentile is 99\.9 and upper_percentile 99\.8"),
        (("prepare", "phantoms", "validation"), 0, r"^prepare\.phantoms: it asks for 4 labelled and 0 validation fish"),
        (("export", "precisions"), ["int8", "int8"], r"^export\.precisions is .*expected each entry once"),
    ],
)
def test_values_that_do_not_go_together_are_refused(keys: tuple[str, ...], value: Any, message: str) -> None:
    """Each is right alone."""
    with pytest.raises(ParamsError, match=message):
        load(Parameter(keys, None, ()), value)


def test_a_number_beyond_all_digits_is_no_traceback(tmp_path: Path) -> None:
    """Python reads no whole number of more than 4300 digits."""
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text().replace("\nseed: 1", "\nseed: 1" + "0" * 5000))
    with pytest.raises(ParamsError, match="cannot be read as YAML"):
        load_params(path)


def test_nothing_is_done_with_a_value_out_of_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of no epochs begins no run, makes no file and is not asked."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        PARAMS.read_text().replace("{epochs: 4, steps_per_epoch: 85}", "{epochs: 0, steps_per_epoch: 85}")
    )
    with pytest.raises(ParamsError, match=r"^train_teacher\.schedule\.epochs is 0; expected a number of at least 1"):
        run_stage("train_teacher", lambda _params, _run: pytest.fail("it began"), shared=True)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
