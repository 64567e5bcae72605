"""How does Ricefish compare with other servers of the same ONNX file, the same slices, the same client, in one run?

    python -m benchmarks.peers

`mlflow models serve`, MLServer, BentoML and LitServe, each in an environment of its own and in the fastest way found,
asked in JSON, as their own examples do, and in the densest encoding that can be had from them, by 1, 8 and 32 clients:
slices per second and the 99th percentile of the answers' times, for the paper's U-Net and for one convolution. Writes
benchmarks/results/peers.json and prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from benchmarks.effort import effort_of
from benchmarks.models import Size, write_model
from benchmarks.overhead import SIDE
from benchmarks.peers.comparison import CLIENTS, Comparison, Effort
from benchmarks.peers.contenders import PEERS
from benchmarks.peers.environments import DEFAULT_FOLDER, Environments

_FULL = {"unet": Effort(3, 4.0, 2.0, 64), "tiny": Effort(3, 3.0, 1.0, 1024)}
_QUICK = {"unet": Effort(1, 0.5, 0.3, 32), "tiny": Effort(1, 0.5, 0.3, 256)}


_RATIOS = {
    "bare loop": "of_the_bare_loop",
    "the best of the others in their densest encoding": "of_the_best_other",
    "the best of the others in JSON": "of_the_best_other_in_json",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Ricefish beside other servers")
    parser.add_argument("--networks", nargs="+", choices=get_args(Size), default=get_args(Size), help="default: both")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_FOLDER, help=f"of the others (default: {DEFAULT_FOLDER})")
    measured = effort_of(parser, arguments, least={})
    given, console = measured.options, Console()
    effort, rows = _QUICK if measured.quick else _FULL, []
    environments = Environments(given.venvs.expanduser().absolute())
    for peer in PEERS:
        console.print(f"{peer.title} {environments.version(peer.name, peer.name)}", highlight=False)
    with tempfile.TemporaryDirectory(prefix="ricefish-peers-") as temporary:
        for size in given.networks:
            folder = Path(temporary) / size
            model = write_model(folder / "model", size)
            comparison = Comparison(size, model, folder, environments, effort[size], _said_on(console))
            rows.append(comparison.run())
    about = {"side": SIDE, "clients": list(CLIENTS), "seconds": {size: effort[size].seconds for size in effort}}
    console.print(f"Written to {measured.write('peers', rows=rows, about=about)}")
    for line in markdown(rows):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _said_on(console: Console) -> Any:
    return lambda line: console.print(line, highlight=False)


def markdown(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A table for each network, with the ratios that count under it."""
    for row in rows:
        clients = [load["clients"] for load in row["servers"][0]["loads"]]
        yield ""
        yield f"| {row['network']}: slices/s (p99, ms) | " + " | ".join(f"{n} clients" for n in clients) + " |"
        yield "|---" * (1 + len(clients)) + "|"
        for server in row["servers"]:
            cells = [f"{load['slices_per_second']:.1f} ({load['p99_ms']:.0f})" for load in server["loads"]]
            yield f"| {server['server']} {server['version']}, {server['encoding']} | " + " | ".join(cells) + " |"
        for name, key in _RATIOS.items():
            yield f"| Ricefish / {name} | " + " | ".join(f"{one[key]:.2f}" for one in row["ricefish"]) + " |"
        yield f"The bare loop: {row['bare_slices_per_second']:.1f} slices/s, in batches of {row['bare_batch']}."
        for server in row["servers"]:
            for load in server["loads"]:
                if load["errors"]:
                    yield f"{server['server']}, {load['clients']} clients: {load['errors']}"


if __name__ == "__main__":
    main()
