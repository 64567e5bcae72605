"""The real application in this process, asked by whatever bytes a network may bring."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
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

    @property
    def resources(self) -> Any:
        return self._app.state.resources

    def ask(
        self,
        method: str,
        target: bytes,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        seconds: float = 60,
        leaving: bool = False,
    ) -> Answered:
        """`target` is the path and query as they would stand in a request line; who is `leaving` sends and goes."""
        asked = self._asked(method, target, headers or [], body, leaving=leaving)
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(asked, seconds), self._loop).result()

    async def _asked(self, method: str, target: bytes, headers: Headers, body: bytes, *, leaving: bool) -> Answered:
        path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1"), *((name.lower(), value) for name, value in headers)],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        answer: dict[str, Any] = {"status": 0, "headers": [], "body": b""}

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
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
        await loop.shutdown_default_executor()

    try:
        lifespan = asyncio.run_coroutine_threadsafe(start(), loop).result(120)
        try:
            yield App(app, loop)
        finally:
            asyncio.run_coroutine_threadsafe(stop(lifespan), loop).result(120)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
