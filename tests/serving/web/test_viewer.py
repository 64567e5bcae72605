"""The viewer in a real browser: organs are where the segmentation has them, voxel by voxel, in their colours."""

from __future__ import annotations

import io
import json
from urllib.parse import quote, unquote

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from scans.organs import OrganMap
from tests.serving.web.conftest import SHAPE, Visit

pytestmark = pytest.mark.process

PIXELS = 8
"""Of the screen for each voxel."""
COLOURS = OrganMap.from_mapping({1: "heart", 2: "eye"}).organs
BARE = {"showAxisLines": False, "showScaleBar": False, "showDefaultAnnotations": False, "layout": "xy"}


def shown_slice(page: Page, at: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Class indices (Y, X) as the panel shows them: the colour in the middle of each voxel of the slice.

    The voxel `at` (z, y, x) is in the middle of the panel.
    """
    panel = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert panel is not None
    colours = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    middle_x, middle_y = panel["x"] + panel["width"] / 2, panel["y"] + panel["height"] / 2
    palette = np.array([(0, 0, 0), *(organ.colour for organ in COLOURS)])
    found = np.zeros(SHAPE[1:], dtype=np.uint8)
    for y, x in np.ndindex(*SHAPE[1:]):
        across, down = middle_x + (x - at[2]) * PIXELS, middle_y + (y - at[1]) * PIXELS
        found[y, x] = np.abs(palette - colours[int(down), int(across)]).sum(axis=1).argmin()
    return found


def state_of(address: str) -> dict[str, object]:
    state: dict[str, object] = json.loads(unquote(address.partition("#!")[2]))
    return state


@pytest.mark.parametrize("z", [5, 10, 15])
def test_organs_are_shown_where_they_are(visit: Visit, organs_of: tuple[str, NDArray[np.uint8]], z: int) -> None:
    """Every voxel of a slice has the colour of its class, and so no organ is shifted, mirrored or turned."""
    scan, organs = organs_of
    visit.open(f"/scans/{scan}")
    address = visit.page.locator("iframe[name=viewer]").get_attribute("src") or ""
    state = state_of(address)
    origin = visit.page.evaluate(f"fetch('/v1/scans/{scan}/segmentation.ome.zarr/zarr.json').then(r => r.json())")
    translation = origin["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    starts = [start / step for step, start in zip(translation[0]["scale"], translation[1]["translation"], strict=True)]
    at = (z, SHAPE[1] / 2, SHAPE[2] / 2)
    state |= {**BARE, "crossSectionScale": 1 / PIXELS, "position": [p + s for p, s in zip(at, starts, strict=True)]}
    visit.open(f"{address.partition('#!')[0]}#!{quote(json.dumps(state))}")
    visit.page.wait_for_selector(".neuroglancer-rendered-data-panel")
    deadline = 60
    while (found := shown_slice(visit.page, at)).tolist() != organs[z].tolist():
        deadline -= 1
        assert deadline, f"{np.count_nonzero(found != organs[z])} voxels are not as they should be\n{found}"
        visit.page.wait_for_timeout(250)


def test_a_link_leads_to_an_organ(visit: Visit, organs_of: tuple[str, NDArray[np.uint8]]) -> None:
    """The viewer, which shows the largest organ first, goes to the centroid of another without being loaded again."""
    scan, organs = organs_of
    visit.open(f"/scans/{scan}")
    frame = visit.page.frame(name="viewer")
    assert frame is not None
    places = frame.locator(".neuroglancer-position-dimension-coordinate")
    shown = "all => all.slice(0, 3).map(one => Number(one.value))"
    for organ, link in ((1, None), (2, "eye"), (1, "heart")):
        if link is not None:
            visit.page.get_by_role("link", name=link).click()
        centroid = np.floor(np.argwhere(organs == organ).mean(axis=0)).astype(int).tolist()
        for _ in range(100):
            if (found := places.evaluate_all(shown)) == centroid:
                break
            visit.page.wait_for_timeout(100)
        assert found == centroid
    assert len(visit.sent("GET", f"/events/{scan}")) == 1


def test_nothing_is_said_of_a_server_that_is_gone(visit: Visit, organs_of: tuple[str, NDArray[np.uint8]]) -> None:
    """The client's stream stays open, so that no bar says that it is disconnected; names of organs are asked for."""
    scan, _ = organs_of
    visit.open(f"/scans/{scan}")
    frame = visit.page.frame_locator("iframe[name=viewer]")
    frame.locator(".neuroglancer-rendered-data-panel").first.wait_for()
    visit.page.wait_for_timeout(1000)
    expect(frame.get_by_text("Disconnected")).to_have_count(0)
    assert len(visit.sent("GET", f"/events/{scan}")) == 1
    assert visit.sent("GET", f"/v1/scans/{scan}/surfaces/precomputed/info")
    assert not visit.sent("POST", "/")
