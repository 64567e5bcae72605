"""A data set that is named beside a file is the scan, whichever way it is named."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ricefish.client.client import Client
from scans.geometry import Spacing
from tests.serving.intake.test_ways_in import nifti
from tests.serving.running import RunningServer


def test_a_data_set_can_be_named_in_every_way(server: RunningServer, tmp_path: Path) -> None:
    """In query, form and JSON, by the name that the refusal gives in full; each data set is another scan, and a file
    without such names is refused.
    """
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        for name, slices in (("raw", 5), ("entry/tomo/data", 6), ("other/tomo/data", 7)):
            file[name] = np.arange(slices * 200, dtype=np.int16).reshape(slices, 20, 10)
    said = {"spacing": "1,1,1", "dataset": "raw"}
    http, url, content = server.http, f"{server.url}/v1/scans", path.read_bytes()
    unnamed = http.post(url, content=content, params={"filename": "two.h5", "spacing": "1,1,1"})
    assert unnamed.status_code == 422
    assert "3 data sets of three axes: entry/tomo/data 6 x 20 x 10 int16, other/tomo/data" in unnamed.json()["detail"]
    assert "the parameter dataset=entry/tomo/data over HTTP" in unnamed.json()["detail"]
    answers = [
        http.post(url, content=content, params={"filename": "two.h5", **said}),
        http.post(url, data=said, files={"scan": ("two.h5", content)}),
    ]
    assert [answer.json()["shape"] for answer in answers] == [[5, 20, 10]] * 2
    assert len({answer.json()["id"] for answer in answers}) == 1
    for most in (0, 1 << 30):
        with Client(server.url, resumable_bytes=most) as client:
            other = client.submit(path, spacing=Spacing(1, 1, 1), dataset="/entry/tomo/data", fresh=True)
        assert other.slices_total == 6
        assert server.until_ended(other.id)["state"] == "succeeded"
    refused = server.post(nifti(41), "a.nii", dataset="raw")
    assert (refused.status_code, "a data set is named, 'raw'" in refused.json()["detail"]) == (422, True)
