"""Configuration text: Triton's config.pbtxt, protocol buffers written as text, read without their schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from serving.parsing.documents import SHORT, parse_object

_TOKEN = re.compile(
    r"""(?P<space>[\s,;]++|\#[^\n]*+)|(?P<string>"(?:\\.|[^"\\\n])*+"|'(?:\\.|[^'\\\n])*+')"""
    r"""|(?P<word>[A-Za-z_][\w.]*+)|(?P<number>[-+]?[\d.][\w.+-]*+)|(?P<mark>[:{}\[\]<>])"""
)
"""No part gives back what it has matched: a text is gone through once."""
_MOST_CHARACTERS = 1 << 20
_MOST_DEPTH = 32

Message = dict[str, list[Any]]
"""Fields by name, each with all the values that it was given, in order; a value is str, int, float, bool or Message."""


class ConfigTextError(ValueError):
    """Text that is no such configuration; the message says where."""


def parse(text: str) -> Message:
    """The fields of a config.pbtxt. Raises ConfigTextError."""
    _require_short(text)
    return _message(_Tokens(text), closed_by=None, depth=0)


def _require_short(text: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise ConfigTextError(f"the configuration has {len(text)} characters; at most {_MOST_CHARACTERS} are read")


class _Tokens:
    def __init__(self, text: str) -> None:
        self._all = list(_split(text))
        self._at = 0

    def peek(self) -> tuple[str, str, int]:
        return self._all[self._at] if self._at < len(self._all) else ("end", "the end", 0)

    def take(self) -> tuple[str, str, int]:
        token = self.peek()
        self._at += 1
        return token


def _split(text: str) -> Iterator[tuple[str, str, int]]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConfigTextError(f"line {line}: {text[at]!r} was not expected")
        if match.lastgroup != "space":
            yield str(match.lastgroup), match.group(), line
        line += match.group().count("\n")
        at = match.end()


def _message(tokens: _Tokens, *, closed_by: str | None, depth: int) -> Message:
    fields: Message = {}
    while True:
        kind, text, line = tokens.take()
        if text == closed_by or (kind == "end" and closed_by is None):
            return fields
        if kind != "word":
            raise ConfigTextError(f"line {line}: {text} stands where a field's name was expected")
        if tokens.peek()[1] == ":":
            tokens.take()
        fields.setdefault(text, []).extend(_values(tokens, depth=depth))


def _values(tokens: _Tokens, *, depth: int) -> list[Any]:
    kind, text, line = tokens.take()
    if depth > _MOST_DEPTH:
        raise ConfigTextError(f"line {line}: brackets lie in each other more than {_MOST_DEPTH} deep")
    if text == "[":
        values: list[Any] = []
        while tokens.peek()[1] != "]":
            values += _values(tokens, depth=depth + 1)
        tokens.take()
        return values
    if text in ("{", "<"):
        return [_message(tokens, closed_by="}" if text == "{" else ">", depth=depth + 1)]
    if kind == "string":
        return [_unescaped(text[1:-1], line)]
    if kind == "word":
        return [{"true": True, "false": False}.get(text, text)]
    if kind == "number":
        return [_number(text, line)]
    raise ConfigTextError(f"line {line}: {text} stands where a value was expected")


def _unescaped(text: str, line: int) -> str:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in text else text
    except UnicodeDecodeError as error:
        raise ConfigTextError(f"line {line}: {text} is no string: {error.reason}") from None


def _number(text: str, line: int) -> int | float:
    for of in (lambda: int(text, 0), lambda: float(text.rstrip("fF"))):
        try:
            return of()
        except ValueError:
            continue
    raise ConfigTextError(f"line {line}: {text} is no number")


def parse_json(text: str) -> Message:
    """The same from JSON, as clients send it with a load request. Raises ConfigTextError, TooLarge."""
    _require_short(text)
    document = text.encode("utf-8", "replace")
    return _as_message(parse_object(document, name="the configuration", limits=SHORT, refused=ConfigTextError))


def _as_message(content: dict[str, Any]) -> Message:
    message: Message = {}
    for name, value in content.items():
        values = value if isinstance(value, list) else [value]
        message[name] = [_as_message(one) if isinstance(one, dict) else one for one in values]
    return message
