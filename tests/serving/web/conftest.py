"""A real browser on real servers: whatever a page does, it asks nobody but its own server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.serving.browser import NAMES, installed
from tests.serving.models import write_classifier, write_model
from tests.serving.running import RunningServer

OPTIONS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
SHAPE = (24, 40, 56)
SPACING = 0.01


@dataclass
class Visit:
    """A page that is open, and what it has asked for and complained of."""

    page: Page
    url: str
    """Of the server."""
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def sent(self, method: str, path: str) -> list[Request]:
        """Requests that were made, by method and the beginning of their path."""
        return [one for one in self.requests if one.method == method and urlsplit(one.url).path.startswith(path)]


@pytest.fixture(scope="module")
def chromium(processes: None) -> Iterator[Browser]:
    """Gone when its file is: while Playwright runs, no other test of this process can run an event loop."""
    if installed() is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed(), args=list(OPTIONS))
        yield browser
        browser.close()


def visiting(browser: Browser, url: str, *, scheme: str = "light", width: int = 1280) -> Iterator[Visit]:
    """A visit in a browser that has been nowhere; at its end, every request was one of the server's own."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
    visit = Visit(context.new_page(), url)
    visit.page.set_default_timeout(60_000)

    def noted(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            visit.complaints.append(message.text)

    def asked(request: Request) -> None:
        visit.requests.append(request)

    context.on("request", asked)
    visit.page.on("console", noted)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    yield visit
    elsewhere = [one.url for one in visit.requests if not one.url.startswith((url + "/", "blob:" + url, "data:"))]
    context.close()
    assert visit.requests and not elsewhere, elsewhere
    assert not visit.complaints, visit.complaints


@pytest.fixture
def visit(chromium: Browser, site: RunningServer) -> Iterator[Visit]:
    yield from visiting(chromium, site.url)


@pytest.fixture(scope="session")
def judged_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a Quality Classifier."""
    folder = write_model(tmp_path_factory.mktemp("judged") / "model")
    write_classifier(folder / "quality_classifier", threshold=0.02)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, judged_model: Path, processes: None) -> Iterator[RunningServer]:
    """A server without keys."""
    server = RunningServer(tmp_path_factory.mktemp("site"), judged_model, slab_slices=8)
    yield server.start()
    server.end()


def fish(folder: Path) -> tuple[Path, NDArray[np.uint8]]:
    """A scan with a heart and an eye, neither in the middle nor of one shape, and where they are, (Z, Y, X).

    Grey values run from 0 to 100: heart from 40 on, eye from 70 on.
    """
    organs = np.zeros(SHAPE, dtype=np.uint8)
    organs[4:16, 6:18, 10:40] = 1
    organs[4:16, 6:9, 34:40] = 0
    organs[8:14, 26:34, 44:50] = 2
    grey = np.choose(organs, [10, 50, 90]).astype(np.uint8)
    grey[0, 0, :2] = (0, 100)
    organs[0, 0, 1] = 2
    path = folder / "fish_1.nii.gz"
    nib.save(nib.Nifti1Image(grey.T, np.diag([-SPACING, -SPACING, SPACING, 1.0])), path)
    return path, organs


@pytest.fixture(scope="session")
def organs_of(tmp_path_factory: pytest.TempPathFactory, site: RunningServer) -> tuple[str, NDArray[np.uint8]]:
    """A finished scan, by its id, and where its organs are."""
    path, organs = fish(tmp_path_factory.mktemp("fish"))
    scan = site.until_ended(site.post(path, path.name).json()["id"])
    assert scan["state"] == "succeeded"
    return str(scan["id"]), organs
