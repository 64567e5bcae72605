"""Parsing of params.yaml: plain values become frozen sections; what does not fit is refused by its key."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # such as 1e-05, which YAML 1.1 takes for text


class ParamsError(ValueError):
    """params.yaml cannot be used; the message names the key."""


def parse(kind: Any, value: Any, where: str) -> Any:
    """A value as what a field's annotation says. Raises ParamsError that names the key."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _parse_section(kind, value, where)
    if typing.get_origin(kind) is tuple:
        return _parse_list(typing.get_args(kind)[0], value, where)
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise ParamsError(f"{where} is {value!r}; expected {' or '.join(typing.get_args(kind))}")
        return value
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and (type(value) is int or (isinstance(value, str) and _EXPONENT.fullmatch(value))):
        return float(value)
    if type(value) is not kind:
        raise ParamsError(f"{where} is {value!r}; expected {kind.__name__}")
    return value


def _parse_list(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ParamsError(f"{where} is {value!r}; expected a list")
    return tuple(parse(kind, entry, f"{where}[{position}]") for position, entry in enumerate(value))


def _parse_section(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ParamsError(f"{where} is {value!r}; expected a section")
    hints = typing.get_type_hints(kind)
    unknown = [key for key in value if key not in hints]
    if unknown:
        raise ParamsError(f"{where}.{unknown[0]} is unknown; {where} has {', '.join(hints)}")
    missing = [key for key in hints if key not in value]
    if missing:
        raise ParamsError(f"{where}.{missing[0]} is missing")
    return kind(**{key: parse(hint, value[key], f"{where}.{key}") for key, hint in hints.items()})
