"""The `python` that DVC starts while the demo runs: it hands the command to `demo.preloaded`, and waits for its end.

It runs by path, before any environment, on the standard library alone: a start takes milliseconds.
"""

import json
import os
import signal
import socket
import struct
import sys

ADDRESS = "RICEFISH_DEMO_PRELOADED"
"""Names the socket of the process that has the imports done."""
HEADER = struct.Struct("!I")
"""Length of the request, which follows."""
ANSWER = struct.Struct("!i")
"""Exit code."""
NO_ANSWER = 70
"""Exit code where the process went away before it said how the command ended."""


def hand_over(address: str, module: str, arguments: list[str]) -> int:
    """Has `python -m module arguments` run there, with our streams, folder and environment; returns its exit code.

    Raises OSError where nobody listens at the address.
    """
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes as long to import as all the rest
    request = {"module": module, "arguments": arguments, "folder": folder, "environment": dict(os.environ)}
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [HEADER.pack(len(content))], [0, 1, 2])
        connection.sendall(content)
        answer = connection.recv(ANSWER.size, socket.MSG_WAITALL)
    return ANSWER.unpack(answer)[0] if len(answer) == ANSWER.size else NO_ANSWER


def main() -> int:
    """Hands `-m MODULE ...` over; anything else is for the interpreter that runs this."""
    address = os.environ.get(ADDRESS, "")
    if sys.argv[1:2] != ["-m"] or not os.path.exists(address):  # noqa: PTH110 - as above
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606 - the same program, without a shell
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command itself, whose end is waited for
    try:
        return hand_over(address, sys.argv[2], sys.argv[3:])
    except ConnectionRefusedError:  # it was killed: the command does its imports itself
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606 - as above


if __name__ == "__main__":
    sys.exit(main())
