"""Every number among the settings has a range, and what lies outside is refused by name.

What is drawn comes from the declarations in serving/settings.py, so that a new setting is among them.
"""

from __future__ import annotations

import math
import re
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.settings import Settings, SettingsError, read_settings
from serving.storage.database import Database, DatabaseError

_ENDS = ("ge", "gt", "le", "lt")


def kinds(name: str) -> set[Any]:
    annotation = Settings.model_fields[name].annotation
    return set(typing.get_args(annotation)) or {annotation}


def ends(name: str) -> dict[str, float]:
    stated = Settings.model_fields[name].metadata
    return {end: getattr(bound, end) for end in _ENDS for bound in stated if hasattr(bound, end)}


NUMBERS = [name for name in Settings.model_fields if kinds(name) & {int, float}]


def outside(name: str) -> st.SearchStrategy[Any]:
    found = ends(name)
    least = found["gt"] if "gt" in found else math.nextafter(found["ge"], -math.inf)
    most = found["lt"] if "lt" in found else math.nextafter(found["le"], math.inf)
    whole = st.integers(max_value=math.floor(least)) | st.integers(min_value=math.ceil(most))
    if int in kinds(name):
        return whole
    return whole | st.floats(max_value=least) | st.floats(min_value=most) | st.sampled_from([math.nan, math.inf])


@pytest.fixture(autouse=True, scope="module")
def _no_settings() -> typing.Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RICEFISH_TEST_DATA", raising=False)
        yield


def test_every_number_has_both_ends() -> None:
    """Of what is no number, text has a form where it would end up in an address or a path."""
    for name in NUMBERS:
        assert len(ends(name)) == 2 and all(map(math.isfinite, ends(name).values())), f"{name} has no range"


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_number_outside_is_refused_by_name(name: str, data: st.DataObject) -> None:
    """From the environment and as an option: the variable, the value and the range."""
    value = data.draw(outside(name))
    with pytest.raises(SettingsError, match=f"^RICEFISH_{name.upper()} is .*: expected a number of .* and "):
        read_settings(needs_model=False, **{name: value})
    variable = f"RICEFISH_{name.upper()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, str(value))
        with pytest.raises(SettingsError) as refused:
            read_settings(needs_model=False)
    assert str(refused.value).startswith(f"{variable} is {str(value)!r}: expected a number of")


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"webhook_secret"}))
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_a_value_of_another_type_is_refused_by_name(name: str, data: st.DataObject) -> None:
    """No number, no list and nothing that has none of the words is taken for a setting."""
    text = data.draw(st.sampled_from(["much", "[1", "{}", "0x", "1 2"]))
    strange = data.draw(st.sampled_from([{"a": 1}, object(), 1j]))
    if kinds(name) & {str} or "Path" in str(Settings.model_fields[name].annotation):
        given_value: Any = strange
    else:
        given_value = text
    if name == "store":
        return  # what a path may be made of
    with pytest.raises(SettingsError, match=f"^RICEFISH_{name.upper()} is "):
        read_settings(needs_model=False, **{name: given_value})


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_are_inside_where_they_are_said_to_be(name: str) -> None:
    """The greatest and the least value that the message allows are taken."""
    for end, value in ends(name).items():
        if end in {"ge", "le"}:
            assert getattr(read_settings(needs_model=False, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HOSTS", "fish.example.org", "expected a JSON list"),
        ("HOSTS", '["fish.example.org:8000"]', "expected names without ports"),
        ("MORE_MODELS", "{}", "expected a JSON list"),
        ("SOURCE_ROOTS", "/data", "expected a JSON list"),
        ("S3_ENDPOINT", "127.0.0.1:8333", "expected an address that begins with http"),
        ("OTLP_ENDPOINT", "grpc://collector", "expected an address that begins with http"),
        ("WORKER_ID", "../worker", "expected a name of letters"),
        ("SLAB_SLICES", "24", "give a power of two"),
    ],
)
def test_a_text_of_another_form_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """With what would be right."""
    monkeypatch.setenv(f"RICEFISH_{variable}", value)
    with pytest.raises(SettingsError, match=rf"^RICEFISH_{variable} is '.*': {re.escape(expected)}"):
        read_settings(needs_model=False)


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose files leave it: no folder becomes the working directory, and no secret is the empty one."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"RICEFISH_{name.upper()}", "")
    assert read_settings(needs_model=False).model_fields_set == set()


@pytest.mark.parametrize("url", ["x", "mysql://host/name", "postgresql://host:port/name"])
def test_an_address_of_no_database_is_one_line(url: str) -> None:
    """Which says how one looks."""
    with pytest.raises(DatabaseError, match=r"sqlite:///PATH (or|nor) postgresql://USER@HOST/NAME"):
        Database(url)
