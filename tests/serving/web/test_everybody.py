"""Everybody can use the page: what axe finds, in light and dark, and what a keyboard reaches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.serving.running import RunningServer
from tests.serving.web.conftest import Visit, visiting

pytestmark = pytest.mark.process

PAGES = ("/", "/?state=failed", "/scans/{scan}", "/models", "/scans/00000000000000000000000000000000", "/sign-in")


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, chromium: Browser, site: RunningServer) -> Iterator[Visit]:
    yield from visiting(chromium, site.url, scheme=request.param)


def test_axe_finds_nothing_that_keeps_anybody_out(seen: Visit, organs_of: tuple[str, object]) -> None:
    """No violation that it calls serious or critical, on any page."""
    found = []
    for path in PAGES:
        seen.open(path.replace("{scan}", organs_of[0]))
        seen.page.wait_for_load_state("load")
        for violation in Axe().run(seen.page, context={"exclude": [["iframe"]]}).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:200] for node in violation["nodes"]]
                found.append((path, violation["id"], violation["help"], nodes))
    assert not found


def test_a_keyboard_reaches_everything_on_the_list(visit: Visit, organs_of: tuple[str, object]) -> None:
    """The first key press leads past the head of the page; then everything in order, files and buttons included."""
    visit.open("/")
    visit.page.locator(f"#scan-{organs_of[0]}").wait_for()
    reached = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        reached.append(
            visit.page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText?.trim() || ''")
        )
    assert reached[0] == "Skip to the content"
    for wanted in ("Scans", "Models", "API", "Files", "A folder", "Show", "fish_1.nii.gz", "Delete fish_1.nii.gz"):
        assert wanted in reached, reached
