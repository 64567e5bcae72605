"""Promoting on the page, in a real browser: the verdict is read, the champion moves, and the server serves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.serving.auth.test_keys import add
from tests.serving.models import write_model
from tests.serving.registries import CHAMPION, NAME, SmallRegistry, sqlite_registry
from tests.serving.running import RunningServer
from tests.serving.web.conftest import Visit, visiting

pytestmark = pytest.mark.process


@dataclass(frozen=True)
class Followed:
    """A server that follows the champion, its registry, and a key of each kind."""

    server: RunningServer
    registry: SmallRegistry
    shown: dict[str, str]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[Followed]:
    """Version 1 is the champion, version 2, which is better, the candidate; version 3 is worse."""
    folder = tmp_path_factory.mktemp("promoting")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        registry = sqlite_registry(folder, patch)
        for number, dice in ((1, 0.7), (2, 0.8), (3, 0.6)):
            registry.register(write_model(folder / f"model_{number}", thresholds=(0.2 + number / 10, 0.9)))
            registry.evaluate(str(number), {"heart": dice, "eye": dice})
        registry.point("1")
        registry.point("2", alias="candidate")
        server = RunningServer(folder, CHAMPION, follow_seconds=0.2)
        shown = {scope: add(server, "--scope", scope)["Authorization"].split()[1] for scope in ("segment", "admin")}
        yield Followed(server.start(), registry, shown)
        server.end()


@pytest.fixture
def visitor(request: pytest.FixtureRequest, followed: Followed, chromium: Browser) -> Iterator[Visit]:
    followed.registry.point("1")
    followed.registry.forget_history()
    yield from visiting(chromium, followed.server.url, scheme=request.param)


def signed_in(visit: Visit, key: str) -> Page:
    visit.open("/sign-in?next=/models")
    visit.page.get_by_label("API key").fill(key)
    visit.page.get_by_label("API key").press("Enter")
    expect(visit.page.get_by_role("region", name="Verdict on version 2")).to_be_visible()
    return visit.page


def serious(page: Page) -> list[str]:
    """What axe calls so."""
    violations = Axe().run(page).response["violations"]
    found = [(one["id"], one["nodes"]) for one in violations if one["impact"] in ("serious", "critical")]
    return [f"{rule}: {nodes[0]['html'][:200]}" for rule, nodes in found]


@pytest.mark.parametrize("visitor", ["light"], indirect=True)
def test_the_champion_is_moved_and_moved_back_by_keyboard(visitor: Visit, followed: Followed) -> None:
    """The verdict, a press of Enter, a question, and the table of what serves has the new one; then back."""
    page = signed_in(visitor, followed.shown["admin"])
    served = page.locator("#served-now")
    expect(served.get_by_role("row", name=f"{NAME} version 1")).to_be_visible(timeout=20_000)
    row = page.get_by_role("region", name="Verdict on version 2").get_by_role("row", name="heart")
    expect(row).to_contain_text("0.8000 0.7000 +0.1000 \N{MINUS SIGN}0.03 at worst holds", use_inner_text=True)
    assert serious(page) == []
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    page.get_by_role("button", name="Promote version 2").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text(f"Version 2 of {NAME} is the champion, and serves.")
    expect(served.get_by_role("row", name=f"{NAME} version 2")).to_be_visible()
    expect(page.get_by_role("region", name=f"Versions of {NAME}", exact=True)).to_contain_text(
        "passed the gate, by ada"
    )
    assert followed.registry.at() == "2" and page.evaluate("document.activeElement.dataset.versions") == NAME
    page.get_by_role("button", name="Roll back to version 1").press("Enter")
    expect(page.get_by_role("status")).to_have_text(f"Version 1 of {NAME} is the champion, and serves.")
    assert followed.registry.at() == "1" and "instead of version 1" in asked[0] and "version 1" in asked[1]


@pytest.mark.parametrize("visitor", ["dark"], indirect=True)
def test_what_the_gate_refuses_needs_a_reason(visitor: Visit, followed: Followed) -> None:
    """Which organ loses what is said; without a reason nothing is sent, nor where the question is answered with no."""
    page = signed_in(visitor, followed.shown["admin"])
    page.get_by_text("What the gate says of version 3").press("Enter")
    verdict = page.locator("details", has_text="What the gate says of version 3")
    expect(verdict).to_contain_text("Dice of eye falls from 0.7000 to 0.6000; a loss of 0.03 is allowed")
    assert serious(page) == []
    force = verdict.get_by_role("button", name="Promote version 3 by force")
    force.click()
    verdict.get_by_label("Reason").fill("a new detector")
    page.once("dialog", lambda dialog: dialog.dismiss())
    force.click()
    assert visitor.sent("POST", "/v1/models") == []
    followed.registry.point("2")
    page.once("dialog", lambda dialog: dialog.accept())
    force.click()
    expect(page.get_by_role("status")).to_contain_text("the champion of ricefish is version 2 by now")
    assert followed.registry.at() == "2"


def test_others_see_the_verdict_and_no_buttons(followed: Followed, chromium: Browser) -> None:
    """They may not move it either."""
    followed.registry.point("1")
    for visit in visiting(chromium, followed.server.url):
        page = signed_in(visit, followed.shown["segment"])
        assert page.get_by_role("button", name="Promote").count() == 0
        assert page.get_by_text("The gate lets it become champion.").count() == 1
