"""The size of the picture that a JPEG, JPEG-LS or JPEG 2000 stream says it holds, before anything decodes it."""

from __future__ import annotations

_JPEG = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_BOXED = b"\0\0\0\x0cjP  "
_SEARCHED = 1 << 16
"""Bytes among which the beginning of a boxed JPEG 2000 stream is looked for."""
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
"""Markers that are followed by the size: those of each kind of JPEG, and of JPEG-LS."""
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def stated_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that the stream's header states; None where it is of another kind, or states none."""
    if stream.startswith(_JPEG):
        return _jpeg_size(stream)
    at = stream.find(_JPEG_2000, 0, _SEARCHED) if stream.startswith(_BOXED) else 0
    if at < 0 or not stream.startswith(_JPEG_2000, at) or len(stream) < at + 24:
        return None
    width, height, left, top = (int.from_bytes(stream[at + place : at + place + 4], "big") for place in (8, 12, 16, 20))
    return height - top, width - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    at = len(_JPEG)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
