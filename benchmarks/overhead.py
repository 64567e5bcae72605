"""What does serving cost? A whole scan and single slices over HTTP, against a bare onnxruntime loop, in one run.

    python -m benchmarks.overhead

Four ratios, each between things measured side by side on the same slices: a scan from its first byte sent to its mask
on the client's disk; the rates of eight clients and of one that send single slices; the wait of a single slice while a
scan runs, in batch times. The bare loop is ONNX Runtime in float32; what the server has chosen, and among what, is said
beside the ratios. The U-Net is measured as it is, and with a variant in int8.
Writes benchmarks/results/overhead.json and the picture docs/performance.png.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import clone
from benchmarks.effort import effort_of
from benchmarks.figure import draw_activities
from benchmarks.models import WINDOW, Size, add_int8, write_model
from harness import servers
from scans.formats import create_volume, open_volume
from scans.geometry import Frame, Spacing
from scans.model.manifest import MODEL_FILE

SIDE = 256
CLIENTS = 8
_BATCHES = (1, 2, 4, 8)
_ROUNDING, _MOST_DIFFERING = 0.001, 0.02
"""Share of voxels that may differ from the bare loop's; in int8, of a network of random weights, never sure of any."""
_PICTURE = clone.REPOSITORY / "docs" / "performance.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description="HTTP against a bare loop")
    parser.add_argument("--slices", type=int, default=384, help="of the scan (default: 384)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured, in turn (default: 3)")
    effort = effort_of(parser, arguments, least={"slices": 16, "rounds": 1})
    given, console = effort.options, Console()
    with tempfile.TemporaryDirectory(prefix="ricefish-overhead-") as folder:
        given_to = {"rounds": given.rounds, "console": console}
        slow = measure(Path(folder) / "unet", "unet", slices=given.slices, **given_to)
        int8 = measure(Path(folder) / "int8", "unet", slices=given.slices, int8=True, **given_to)
        fast = measure(Path(folder) / "tiny", "tiny", slices=4 * given.slices, **given_to)
    rows = [slow, int8, fast]
    path, picture = (
        effort.write("overhead", rows=rows, about={"side": SIDE, "clients": CLIENTS}),
        effort.picture(_PICTURE),
    )
    draw_activities(picture, {row["network"]: row["activities"] for row in (slow, fast)})
    console.print(table(rows))
    console.print(f"Written to {path} and {picture}")


def measure(
    folder: Path, size: Size, *, slices: int, rounds: int, console: Console, int8: bool = False
) -> dict[str, Any]:
    """One network, with a variant in int8 or without; gives seconds, rates and their ratios."""
    model = write_model(folder / "model", size)
    if int8:
        add_int8(model)
    grey = np.random.default_rng(1).integers(0, 4000, (slices, SIDE, SIDE)).astype(np.uint16)
    file = folder / "fish.nii"
    with create_volume(file, shape=grey.shape, dtype=grey.dtype, frame=_frame()) as writer:
        writer.write(grey)
    bare = BareLoop(model, grey)
    server = servers.server(folder, model=model, slab_slices=32)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=600, trust_env=False) as client:
            chosen = _chosen(client)
            console.print(f"{size}: {chosen['account']}", highlight=False)
            loops, scans, singles, lonely, activities = [], [], [], [], []
            asked = grey[: max(CLIENTS * 8, slices // 2)]
            for turn in range(rounds):
                loops.append(bare.run())
                seconds, scan = _scan(client, file, folder / f"out-{turn}.nii.gz")
                scans.append(seconds)
                activities.append(scan["seconds"])
                singles.append(_clients(server.url, size, asked, clients=CLIENTS))
                lonely.append(_clients(server.url, size, asked[: len(asked) // 2], clients=1))
                rates = f"{singles[-1]:.1f} single slices/s, {lonely[-1]:.1f} by one client"
                said = f"bare loop {loops[-1]:.2f} s, over HTTP {seconds:.2f} s, {rates}"
                console.print(f"{size}: {said}", highlight=False)
            differing = _compare(folder / "out-0.nii.gz", bare, most=_MOST_DIFFERING if int8 else _ROUNDING)
            loops.append(bare.run())
            waits = _waits(client, server.url, size, file, grey)
    finally:
        server.stop()
    middle = scans.index(statistics.median_low(scans))
    measured = {"loops": loops, "scans": scans, "singles": singles, "lonely": lonely, "waits": waits}
    about = {"int8": int8, "chosen": chosen, "differing": differing, "activities": activities[middle]}
    return _row(size, bare, **measured) | about


def _row(
    size: Size,
    bare: BareLoop,
    *,
    loops: Sequence[float],
    scans: Sequence[float],
    singles: Sequence[float],
    lonely: Sequence[float],
    waits: Sequence[float],
) -> dict[str, Any]:
    seconds, wait, single = statistics.median(loops), statistics.median(waits), statistics.median(singles)
    slices = len(bare.segmentation)
    return {
        "network": size,
        "slices": slices,
        "bare_batch": bare.batch,
        "bare_seconds": [round(value, 3) for value in loops],
        "http_seconds": [round(value, 3) for value in scans],
        "scan_ratio": round(statistics.median(scans) / seconds, 4),
        "bare_slices_per_second": round(slices / seconds, 2),
        "clients_slices_per_second": [round(value, 2) for value in singles],
        "clients_ratio": round(single * seconds / slices, 4),
        "one_client_slices_per_second": [round(value, 2) for value in lonely],
        "one_client_ratio": round(statistics.median(lonely) * seconds / slices, 4),
        "interactive_wait_seconds": round(wait, 4),
        "interactive_wait_batches": round(wait * slices / seconds / bare.batch, 3),
    }


class BareLoop:
    """ONNX Runtime as it comes, over slices in memory, in the batches that suit it best."""

    def __init__(self, model: Path, grey: NDArray[np.uint16]) -> None:
        self._session = onnxruntime.InferenceSession(model / MODEL_FILE, providers=["CPUExecutionProvider"])
        self._grey = grey
        self.segmentation: NDArray[np.uint8] = np.empty(grey.shape, np.uint8)
        some = min(len(grey), 64)
        self.batch = min(_BATCHES, key=lambda batch: self._seconds(batch, some))

    def run(self) -> float:
        """Seconds for all slices."""
        return self._seconds(self.batch, len(self._grey))

    def _seconds(self, batch: int, slices: int) -> float:
        window = np.tile(np.array([WINDOW.lower, WINDOW.upper], np.float32), (batch, 1))
        began = time.perf_counter()
        for first in range(0, slices, batch):
            part = self._grey[first : first + batch].astype(np.float32)
            inputs = {"slices": part, "window": window[: len(part)]}
            self.segmentation[first : first + batch] = self._session.run(["segmentation"], inputs)[0]
        return time.perf_counter() - began


def _frame() -> Frame:
    return Frame.from_lps(Spacing(0.01, 0.01, 0.01))


def _scan(client: httpx.Client, file: Path, target: Path) -> tuple[float, dict[str, Any]]:
    """Seconds from the first byte sent to the mask on disk, and the scan as the server describes it."""
    began = time.perf_counter()
    with file.open("rb") as body:
        pieces = iter(lambda: body.read(1 << 20), b"")
        answer = client.post("/v1/scans", params={"filename": file.name, "fresh": True}, content=pieces)
    scan_id = answer.raise_for_status().json()["id"]
    with client.stream("GET", f"/v1/scans/{scan_id}/events") as events:
        for _ in events.iter_raw():
            pass
    with client.stream("GET", f"/v1/scans/{scan_id}/segmentation") as download, target.open("wb") as mask:
        for piece in download.raise_for_status().iter_raw():
            mask.write(piece)
    seconds = time.perf_counter() - began
    scan: dict[str, Any] = client.get(f"/v1/scans/{scan_id}").json()
    client.delete(f"/v1/scans/{scan_id}")
    return seconds, scan


def _compare(path: Path, bare: BareLoop, *, most: float) -> float:
    """Share of the voxels that differ from the bare loop's."""
    with open_volume(path) as volume:
        differing = float((volume.read() != bare.segmentation).mean())
    if differing > most:
        raise SystemExit(f"overhead: {differing:.2%} of the voxels differ from the bare loop's, {most:.2%} may")
    return differing


def _chosen(client: httpx.Client) -> dict[str, Any]:
    """What the server computes with, and what it has chosen that among."""
    model = client.get("/v1/models").raise_for_status().json()["models"][0]
    kept = {name: model[name] for name in ("precision", "engine", "lanes", "threads", "compared")}
    among = ", ".join(
        f"{one['precision']} by {one['engine']} "
        + (f"{one['slices_per_second']:.4g}/s" if one["refused"] is None else f"refused ({one['refused']})")
        for one in model["compared"]
    )
    chosen = f"{model['precision']} by {model['engine']}, {model['lanes']} x {model['threads']} threads"
    return kept | {"account": f"{chosen}, the fastest of {among}"}


class SliceClient:
    """One connection that asks for single slices in binary."""

    def __init__(self, url: str, model: str) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port)
        self._path = f"/v2/models/{model}/infer"

    def ask(self, piece: NDArray[np.uint16]) -> float:
        """Seconds until the answer to one slice, (Y, X)."""
        content = piece.tobytes()
        entry = {"name": "slices", "shape": [1, *piece.shape], "datatype": "UINT16"}
        wanted = {"name": "segmentation", "parameters": {"binary_data": True}}
        header = {"inputs": [{**entry, "parameters": {"binary_data_size": len(content)}}], "outputs": [wanted]}
        said = json.dumps(header).encode()
        began = time.perf_counter()
        self._connection.request(
            "POST", self._path, said + content, {"Inference-Header-Content-Length": str(len(said))}
        )
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"overhead: {answer.status} {body[:500]!r}")
        return time.perf_counter() - began


def _clients(url: str, model: str, grey: NDArray[np.uint16], *, clients: int) -> float:
    """Slices per second of clients that each wait for an answer before they ask again."""

    def work(mine: NDArray[np.uint16]) -> None:
        client = SliceClient(url, model)
        for piece in mine:
            client.ask(piece)

    _together([lambda mine=grey[n : n + 1]: work(mine) for n in range(clients)])  # type: ignore[misc]  # once to warm up
    began = time.perf_counter()
    _together([lambda mine=grey[n::clients]: work(mine) for n in range(clients)])  # type: ignore[misc]
    return len(grey) / (time.perf_counter() - began)


def _waits(client: httpx.Client, url: str, model: str, file: Path, grey: NDArray[np.uint16]) -> list[float]:
    """Seconds that single slices take while a scan is being segmented."""
    answer = client.post("/v1/scans", params={"filename": file.name, "fresh": True}, content=file.read_bytes())
    scan_id = answer.raise_for_status().json()["id"]
    asking, waits = SliceClient(url, model), []
    while client.get(f"/v1/scans/{scan_id}").json()["state"] == "queued":
        time.sleep(0.01)
    for piece in grey[:40]:
        waits.append(asking.ask(piece))
        time.sleep(0.05)
        if client.get(f"/v1/scans/{scan_id}").json()["state"] != "running":
            break
    client.delete(f"/v1/scans/{scan_id}")
    return waits


def _together(works: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per network."""
    drawn = Table(title=f"{SIDE} x {SIDE} pixels a slice", title_justify="left")
    ratios = ("scan, HTTP / bare", f"{CLIENTS} clients / bare", "one client / bare", "single slice's wait, batch times")
    for heading in ("network", "chosen", *ratios):
        drawn.add_column(heading, justify="right")
    for row in rows:
        network = f"{row['network']}{', int8 offered' if row['int8'] else ''}"
        names = ("scan_ratio", "clients_ratio", "one_client_ratio", "interactive_wait_batches")
        chosen = f"{row['chosen']['precision']} by {row['chosen']['engine']}"
        drawn.add_row(network, chosen, *(f"{row[name]:.2f}" for name in names))
    return drawn


if __name__ == "__main__":
    main()
