"""A form's file as it is streamed: in pieces that are worth sending on, whatever it holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from serving.intake.multipart import Form

_CHUNK = 64 << 10


def test_data_that_nearly_holds_the_boundary_is_joined_and_others_get_their_turn() -> None:
    """The parser goes through it byte by byte; what goes on is what was sent, some kilobytes at a time."""
    head = b'--boundary\r\nContent-Disposition: form-data; name="scan"; filename="a.nii"\r\n\r\n'
    content = b"\r\n--boundaryx" * 60_000
    sent = head + content + b"\r\n--boundary--\r\n"
    turns = 0

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), _CHUNK):
            yield sent[start : start + _CHUNK]

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read() -> list[bytes]:
        working = asyncio.create_task(others())
        pieces = [piece async for piece in Form().file(body(), content_type="multipart/form-data; boundary=boundary")]
        working.cancel()
        return pieces

    pieces = asyncio.run(read())
    assert b"".join(pieces) == content
    assert len(pieces) < 60
    assert turns > 20
