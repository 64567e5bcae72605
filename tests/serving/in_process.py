"""The real application in this process, asked by whatever bytes a network may bring."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI

from serving.app import create_app
from serving.settings import read_settings

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class App:
    """Asks the application as uvicorn does, without a socket: nothing in between tidies up what is asked."""

    def __init__(self, app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def resources(self) -> Any:
        return self._app.state.resources

    def ask(
        self,
        method: str,
        target: bytes,
        *,
        headers: Headers | None = None,
        body: bytes | Iterable[bytes] = b"",
        seconds: float = 60,
        leaving: bool = False,
        cut_after: float | None = None,
        scheme: str = "http",
    ) -> Answered:
        """`target` is the path and query as they would stand in a request line; who is `leaving` sends and goes.
        After `cut_after` seconds it is cancelled, as a server does that stops, and what is answered then is given.

        A body in pieces is sent piece by piece, each when it is there: in a thread, for it may take its time.
        """
        pieces = iter([body] if isinstance(body, bytes) else body)
        asked = self._asked(method, target, headers or [], pieces, leaving=leaving, scheme=scheme)
        if cut_after is not None:
            asked = _cut(asked, after=cut_after)
        return asyncio.run_coroutine_threadsafe(self._until_answered(asked, seconds), self._loop).result()

    async def all_answered(self) -> None:
        """Returns when nothing is under way any more, as a server that stops waits for what it was asked."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _until_answered(self, asked: Coroutine[Any, Any, Answered], seconds: float) -> Answered:
        task = asyncio.create_task(asked)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.wait_for(task, seconds)

    async def _asked(
        self, method: str, target: bytes, headers: Headers, pieces: Iterator[bytes], *, leaving: bool, scheme: str
    ) -> Answered:
        path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1"), *((name.lower(), value) for name, value in headers)],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        answer: dict[str, Any] = {"status": 0, "headers": [], "body": b""}
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                piece = await asyncio.to_thread(next, pieces, None)
                sent = piece is None
                return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}
            if leaving:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer["status"], answer["headers"] = message["status"], message["headers"]
            else:
                answer["body"] += message.get("body", b"")

        try:
            await self._app(scope, receive, send)
        except Exception:
            if not answer["status"]:
                raise
        found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer["headers"]}
        return Answered(answer["status"], found, answer["body"])


async def _cut(asked: Coroutine[Any, Any, Answered], *, after: float) -> Answered:
    asking = asyncio.create_task(asked)
    await asyncio.wait({asking}, timeout=after)
    asking.cancel()
    return await asking


@contextmanager
def running_app(folder: Path, model: Path | None, **settings: Any) -> Iterator[App]:
    """The application with these settings, started in a thread of its own."""
    given = {"threads": 1, "batch_size": 4, "store": str(folder / "store"), **settings}
    app = create_app(read_settings({}, model=str(model) if model else "", **given))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="app")
    thread.start()

    async def start() -> Any:
        lifespan = app.router.lifespan_context(app)
        await lifespan.__aenter__()
        return lifespan

    async def stop(lifespan: Any) -> None:
        await lifespan.__aexit__(None, None, None)
        await asked.all_answered()
        await asyncio.sleep(0)  # whoever asked in another thread is told by a callback
        await loop.shutdown_default_executor()

    asked = App(app, loop)
    try:
        lifespan = asyncio.run_coroutine_threadsafe(start(), loop).result(120)
        try:
            yield asked
        finally:
            asyncio.run_coroutine_threadsafe(stop(lifespan), loop).result(120)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
