"""A network of its own for containers: a bridge that this thread stands on, and names, as an engine gives them."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_BRIDGE = "containers"
_A, _IN = 1, 1
"""DNS: an IPv4 address, of the internet."""
_NO_SUCH_NAME = 3


class Network:
    """Addresses 10.77.0.2 and on behind a bridge; 10.77.0.1 is the thread that opened it, and answers for names."""

    gateway = "10.77.0.1"

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._given = 1

    def new_address(self) -> str:
        """One that no other container has."""
        self._given += 1
        return f"10.77.0.{self._given}"

    def join(self, *names: str, address: str) -> None:
        """From now on these names stand for that address too."""
        for name in names:
            self._names.setdefault(name, set()).add(address)

    def leave(self, address: str) -> None:
        """No name stands for that address any more."""
        for addresses in self._names.values():
            addresses.discard(address)

    def plug(self, address: str, pid: int) -> None:
        """Gives the namespace of a process an `eth0`; what it does with it is its own business.

        Its hardware address follows from the other, as an engine's does: the neighbours know it after a restart.
        """
        port = self._port(address)
        hardware = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "address", hardware, "netns", str(pid))
        ip("link", "set", port, "master", _BRIDGE, "up")

    def unplug(self, address: str) -> None:
        """Takes it away again at once, where the kernel has not done so after the process was gone."""
        subprocess.run(["ip", "link", "delete", self._port(address)], check=False, capture_output=True)

    def cut(self, address: str) -> None:
        """Nothing comes from there or gets there, and nobody is told."""
        ip("link", "set", self._port(address), "down")

    def mend(self, address: str) -> None:
        """Undoes a cut."""
        ip("link", "set", self._port(address), "up")

    def _port(self, address: str) -> str:
        return f"port{address.rpartition('.')[2]}"

    def answer(self, question: bytes) -> bytes:
        """The answer to a DNS query with one question."""
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        kind = int.from_bytes(question[at + 1 : at + 3], "big")
        known = self._names.get(".".join(labels), set())
        addresses = sorted(known) if kind == _A else []
        flags = 0x8580 | (0 if known else _NO_SUCH_NAME)
        head = question[:2] + b"".join(n.to_bytes(2, "big") for n in (flags, 1, len(addresses), 0, 0))
        record = b"\xc0\x0c" + b"".join(n.to_bytes(2, "big") for n in (_A, _IN, 0, 0, 4))
        return head + question[12 : at + 5] + b"".join(record + socket.inet_aton(one) for one in addresses)


def ip(*words: str) -> None:
    """`ip`, in the namespace of this thread."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def network() -> Iterator[Network]:
    """Moves this thread, and what it starts, into a namespace of its own for as long as the context lasts."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _call("unshare", _CLONE_NEWNET)
    made = Network()
    try:
        ip("link", "set", "lo", "up")
        ip("link", "add", _BRIDGE, "type", "bridge")
        ip("address", "add", f"{made.gateway}/24", "dev", _BRIDGE)
        ip("link", "set", _BRIDGE, "up")
        with _names_answered(made):
            yield made
    finally:
        _call("setns", before, _CLONE_NEWNET)
        os.close(before)


@contextmanager
def _names_answered(made: Network) -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((made.gateway, 53))
        bound.settimeout(0.2)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                try:
                    question, sender = bound.recvfrom(512)
                except TimeoutError:
                    continue
                bound.sendto(made.answer(question), sender)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
