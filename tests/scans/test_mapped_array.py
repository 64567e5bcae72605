"""Arrays in files: zeros at first, kept in the file, and an error in time where there is no room."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from scans.mapped_array import mapped_array

TRIED = """
import resource, sys
from pathlib import Path
import numpy as np
import signal
from scans.mapped_array import mapped_array
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    mapped_array(Path(sys.argv[1]), dtype=np.dtype(np.uint8), shape=(3, 4096))
except OSError as error:
    print(error.errno)
"""


def test_what_is_written_is_in_the_file(tmp_path: Path) -> None:
    """A file of that name is begun anew; one without a name goes with the array."""
    path = tmp_path / "labels"
    path.write_bytes(b"something older, and longer than what comes")
    with tempfile.TemporaryFile() as nameless:
        for array in (
            mapped_array(path, dtype=np.dtype(np.int16), shape=(2, 3)),
            mapped_array(nameless, dtype=np.dtype(np.int16), shape=(2, 3)),
        ):
            assert array.shape == (2, 3) and not array.any()
            array[1, 2] = 7
            array.flush()
    assert path.read_bytes() == bytes(10) + b"\x07\x00"


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no posix_fallocate on this system")
def test_a_file_that_may_not_grow_so_far_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    """Not a signal in the middle, which would end the process: of 4096 bytes that a file may have, it asks for three
    times as many."""
    command = [sys.executable, "-c", TRIED, str(tmp_path / "labels")]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (tried.returncode, tried.stdout.strip()) == (0, "27"), tried.stderr
