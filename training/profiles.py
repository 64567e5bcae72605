"""Reading of params.yaml: which profile is active, what it inherits, and plain values that become frozen sections, and
plain values again.

Every value keeps the address at which it stands in the file, so that one that does not fit is refused by it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BASED_ON = "based_on"
_SWITCHES = ("profile", "raw_dir", "profiles")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # such as 1e-05, which YAML 1.1 takes for text

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, five times as fast, where PyYAML was built with it."""


class ParamsError(ValueError):
    """params.yaml cannot be used; the message names the key."""


@dataclass(frozen=True)
class Stated:
    """A value of the file, or a section of them by key, and where it stands."""

    value: Any
    where: str
    """Its address: the keys that lead to it, with dots between; "" for the file."""

    @classmethod
    def read(cls, plain: Any, where: str) -> Stated:
        """What YAML gave, with the addresses of all that is in it."""
        if not isinstance(plain, Mapping):
            return cls(plain, where)
        return cls({key: cls.read(inner, f"{where}.{key}".lstrip(".")) for key, inner in plain.items()}, where)

    @property
    def is_section(self) -> bool:
        """True where there are values inside."""
        return isinstance(self.value, dict)

    def under(self, upper: Stated) -> Stated:
        """This one with what `upper` states instead, key by key."""
        if not (self.is_section and upper.is_section):
            return upper
        both = {key: old.under(upper.value[key]) for key, old in self.value.items() if key in upper.value}
        return Stated({**self.value, **upper.value, **both}, self.where)

    def without(self, keys: Collection[str]) -> Stated:
        """A section that lacks some keys."""
        return Stated({key: inner for key, inner in self.value.items() if key not in keys}, self.where)

    def plain(self) -> Any:
        """The value as YAML gave it."""
        return {key: inner.plain() for key, inner in self.value.items()} if self.is_section else self.value


@dataclass(frozen=True)
class Profile:
    """The active profile: its values in force, each with its address."""

    name: str
    values: Stated


def read_profile(path: Path) -> Profile:
    """The active profile over all that it is based on. Raises ParamsError that names the file, or the key at fault."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _LOADER)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ParamsError(f"{path.absolute()} does not exist; stages run in the root of the repository") from None
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ParamsError(f"{path.absolute()} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping) or not set(_SWITCHES) <= set(content):
        raise ParamsError(f"{path} must hold the keys {', '.join(_SWITCHES)}")
    file = Stated.read(content, "")
    values = file.without(_SWITCHES)
    profiles, name = file.value["profiles"], file.value["profile"]
    for profile in reversed([*_with_what_it_is_based_on(name, profiles.value if profiles.is_section else {})]):
        values = values.under(profile)
    return Profile(name.value, _with_raw_dir(values, file.value["raw_dir"]))


def _with_raw_dir(values: Stated, raw_dir: Stated) -> Stated:
    """With the raw folder, which stands beside the profile's name: a profile is numbers, data lie anywhere."""
    section = values.value.get("prepare")
    if section is None or not section.is_section:
        return values
    if wrong := section.value.get("raw_dir"):
        raise ParamsError(f"{wrong.where} is unknown; raw_dir stands beside `profile`")
    prepare = Stated({**section.value, "raw_dir": raw_dir}, section.where)
    return Stated({**values.value, "prepare": prepare}, values.where)


def _with_what_it_is_based_on(name: Stated | None, profiles: Mapping[str, Stated]) -> Iterator[Stated]:
    """The named profile, the one that it is based on, the one that this is based on, and so on."""
    passed: list[str] = []
    while name is not None:
        if name.value not in [*profiles]:
            raise ParamsError(f"{name.where} is {name.value!r}; expected one of {[*profiles]}")
        if name.value in passed:
            raise ParamsError(f"{name.where} is {name.value!r}, which is itself based on this profile")
        passed.append(name.value)
        profile = profiles[name.value]
        if profile.value is None:  # `demo:` with nothing below it
            return
        if not profile.is_section:
            raise ParamsError(f"{profile.where} is {profile.value!r}; expected a section")
        yield profile.without([BASED_ON])
        name = profile.value.get(BASED_ON)


def handed_on(values: Stated, keys: Collection[str], *, giver: str, taker: str) -> Stated:
    """With what one section states of `keys` in another too, under what that one states itself."""
    given, taken = (values.value.get(name) for name in (giver, taker))
    if given is None or taken is None or not (given.is_section and taken.is_section):
        return values
    common = Stated({key: given.value[key] for key in keys if key in given.value}, taken.where)
    return Stated({**values.value, taker: common.under(taken)}, values.where)


def spread(values: Stated, shared: Mapping[str, Any], sections: Mapping[str, Any]) -> Stated:
    """The values with what the sections share put into each that has such a key, under what it states itself.

    `shared` are what may stand beside the sections, by key, and `sections` what they are; both annotations. Raises
    ParamsError for a key that is neither, and for a value where a section is shared.
    """
    for key, stated in values.value.items():
        if key not in (*shared, *sections):
            raise ParamsError(f"{stated.where} is unknown; params.yaml has {', '.join((*sections, *shared))}")
        if dataclasses.is_dataclass(shared.get(key)) and not stated.is_section:
            raise ParamsError(f"{stated.where} is {_shown(stated.value)}; expected a section")
    spreading = {key: values.value[key] for key in shared if key in values.value}
    spread_out = dict(values.without(shared).value)
    for name, kind in sections.items():
        own = spread_out.get(name, Stated({}, name))
        if dataclasses.is_dataclass(kind) and own.is_section:
            taken = {field.name for field in dataclasses.fields(kind)} & set(spreading)
            common = Stated({key: spreading[key] for key in taken}, name)
            spread_out[name] = common.under(own) if taken else own
    return Stated(spread_out, values.where)


def parse(kind: Any, stated: Stated, where: str = "") -> Any:
    """A value as what a field's annotation says. Raises ParamsError that names its address.

    `where` is the address at which a key that is missing might stand.
    """
    if typing.get_origin(kind) is typing.Annotated:
        return _within(kind, stated)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _parse_section(kind, stated, where)
    if typing.get_origin(kind) is tuple:
        return _parse_list(typing.get_args(kind)[0], stated)
    return _parse_plain(kind, stated.plain(), stated.where)


def _parse_plain(kind: Any, value: Any, where: str) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise ParamsError(f"{where} is {value!r}; expected {' or '.join(typing.get_args(kind))}")
        return value
    if kind is Path and isinstance(value, str | Path) and str(value).strip():
        return Path(value)
    if kind is float and (type(value) is int or (isinstance(value, str) and _EXPONENT.fullmatch(value))):
        return _as_float(value, where)
    if type(value) is not kind:
        raise ParamsError(f"{where} is {_shown(value)}; expected {_WORDS[kind]}")
    return value


def _shown(value: Any) -> str:
    return "empty" if value is None else repr(value)


def _parse_list(kind: Any, stated: Stated) -> tuple[Any, ...]:
    if not isinstance(stated.value, list):
        raise ParamsError(f"{stated.where} is {stated.plain()!r}; expected a list")
    entries = (Stated(entry, f"{stated.where}[{position}]") for position, entry in enumerate(stated.value))
    parsed = tuple(parse(kind, entry) for entry in entries)
    if len(set(parsed)) < len(parsed):
        raise ParamsError(f"{stated.where} is {stated.value!r}; expected each entry once")
    return parsed


def _within(kind: Any, stated: Stated) -> Any:
    """A value that keeps to all that is stated beside its type. Raises ParamsError that names the bound."""
    plain, *bounds = typing.get_args(kind)
    value = parse(plain, stated)
    for bound in bounds:
        if not bound.holds(value):
            raise ParamsError(f"{stated.where} is {value!r}; expected {bound}")
    return value


def _as_float(value: int | str, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ParamsError(f"{where} is a number of {len(str(value))} digits; expected one that is finite") from None


def _parse_section(kind: Any, stated: Stated, where: str) -> Any:
    if not stated.is_section:
        raise ParamsError(f"{stated.where} is {_shown(stated.value)}; expected a section")
    hints = _hints(kind)
    for key, inner in stated.value.items():
        if key not in hints:
            raise ParamsError(f"{inner.where} is unknown; {where or 'params.yaml'} has {', '.join(hints)}")
    for key in hints:
        if key not in stated.value:
            raise ParamsError(f"{where}.{key} is missing".lstrip("."))
    values = {key: parse(hint, stated.value[key], f"{where}.{key}".lstrip(".")) for key, hint in hints.items()}
    try:
        return kind(**values)
    except ValueError as error:  # of values each of which is right, and which do not go together
        raise ParamsError(f"{where}: {error}") from None


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The annotations of a section's fields, which are text until they are looked up."""
    return typing.get_type_hints(kind, include_extras=True)


def to_dict(section: Any, prefix: str = "") -> dict[str, Any]:
    """A section as plain values for logging, those of its sections under `section.key`."""
    flat: dict[str, Any] = {}
    for key, value in vars(section).items():
        plain = str(value) if isinstance(value, Path) else value
        flat |= to_dict(value, f"{prefix}{key}.") if dataclasses.is_dataclass(value) else {prefix + key: plain}
    return flat


def to_tree(section: Any) -> dict[str, Any]:
    """A section as plain values for YAML, its sections as dictionaries."""
    tree: dict[str, Any] = {}
    for key, value in vars(section).items():
        if dataclasses.is_dataclass(value):
            tree[key] = to_tree(value)
        elif isinstance(value, tuple):
            tree[key] = list(value)
        else:
            tree[key] = str(value) if isinstance(value, Path) else value
    return tree
