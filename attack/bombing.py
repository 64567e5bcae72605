"""Bombing: each bomb is posted to a server that others use meanwhile. It is refused, or taken, and nobody notices."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from attack import specimens
from attack.bombs import BOMBS
from attack.prober import watching
from attack.tally import Arena, Tally
from harness import servers
from harness.forked import ForkedProcess

MOST_SECONDS_FOR_OTHERS = 10.0
"""From a small post to its result, while a bomb is read."""
_SECONDS = 180.0
_AT_ONCE = 4
_SCAN_MEMORY_BYTES = 500_000_000
"""Else a quarter of the machine's is used for batches of large slices, as is intended."""
_UNAVAILABLE = (503, 507)


def attack(arena: Arena, *, names: tuple[str, ...] = tuple(BOMBS), at_once: bool = True) -> Tally:
    """Each bomb alone, and then, with `at_once`, four of each at the same time."""
    tally = Tally("bombs")
    settings = {"batch_size": 4, "scan_memory_bytes": _SCAN_MEMORY_BYTES}
    process = ForkedProcess.of(servers.server(arena.folder, model=arena.model, **settings))
    process.start()
    scan = specimens.write_scan(arena.folder / "small.nii.gz", seed=arena.seed)
    try:
        with httpx.Client(base_url=process.url, timeout=_SECONDS, trust_env=False) as http:
            specimens.wait(http, specimens.post(http, scan))  # all that is loaded late, is
            for name in names:
                _bomb(tally, arena, process, http, name, times=1)
                if at_once:
                    _bomb(tally, arena, process, http, name, times=_AT_ONCE)
                arena.say(f"{tally.counts['bombs']} bombs, {tally.found} findings")
    finally:
        process.stop()
    return tally


def _bomb(tally: Tally, arena: Arena, process: ForkedProcess, http: httpx.Client, name: str, *, times: int) -> None:
    content = BOMBS[name]()
    tally.count("bombs", times)
    tally.measure("bytes sent", len(content))
    during = f"{times} x {name}"
    with watching(process.url, process.pid) as watched, ThreadPoolExecutor(times) as pool:
        posts = [pool.submit(_post, process.url, name, content) for _ in range(times)]
        time.sleep(0.3)
        _others(tally, arena, http, during)
        for status in (post.result() for post in posts):
            tally.count(f"status {status}")
            if isinstance(status, int) and status >= 500 and status not in _UNAVAILABLE:
                tally.find(f"status {status} for {during}", _repeat(name))
            if isinstance(status, str):
                tally.find(f"{status} for {during}", _repeat(name))
        _remove_all(http)
    watched.note(tally, during)
    if process.running is not None and process.running.poll() is not None:
        tally.find(f"the server died of {during}", _repeat(name))
        process.kill()
        process.start()


def _repeat(name: str) -> str:
    return f"post attack.bombs.BOMBS[{name!r}]()"


def _post(url: str, name: str, content: bytes) -> int | str:
    query = {"filename": name, "fresh": "true", "spacing": "0.1,0.1,0.1"}
    try:
        return httpx.post(
            f"{url}/v1/scans", params=query, content=content, timeout=_SECONDS, trust_env=False
        ).status_code
    except httpx.TimeoutException:
        return f"no answer in {_SECONDS:.0f} s"
    except httpx.HTTPError as error:
        return type(error).__name__


def _others(tally: Tally, arena: Arena, http: httpx.Client, during: str) -> None:
    """A small scan, posted while the bomb is read."""
    scan = specimens.write_scan(arena.folder / "small.nii.gz", seed=arena.seed)
    began = time.monotonic()
    try:
        state = specimens.wait(http, specimens.post(http, scan, priority="interactive"))
    except (httpx.HTTPError, TimeoutError) as error:
        state = type(error).__name__
    seconds = time.monotonic() - began
    tally.measure("seconds of a small post", seconds)
    if state != "succeeded":
        tally.find(f"a small post ended as {state or 'refused'} during {during}", during)
    elif seconds > MOST_SECONDS_FOR_OTHERS:
        tally.find(f"a small post took {seconds:.0f} s during {during}", during)


def _remove_all(http: httpx.Client) -> None:
    """What was taken is not segmented to its end: its voxels are no matter here."""
    try:
        for scan in http.get("/v1/scans").raise_for_status().json()["scans"]:
            http.delete(f"/v1/scans/{scan['id']}")
    except httpx.HTTPError:
        return
