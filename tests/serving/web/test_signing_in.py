"""Signing in, in a real browser: nobody sees anything before, and everything works after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.serving.auth.test_keys import add
from tests.serving.running import RunningServer
from tests.serving.web.conftest import Visit, fish, visiting

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, judged_model: Path) -> Iterator[tuple[RunningServer, str]]:
    """A server with keys, and one of them."""
    server = RunningServer(tmp_path_factory.mktemp("guarded"), judged_model, slab_slices=8)
    key = add(server, "--scope", "segment")["Authorization"].removeprefix("Bearer ")
    yield server.start(), key
    server.end()


@pytest.fixture
def visitor(guarded: tuple[RunningServer, str], chromium: Browser) -> Iterator[Visit]:
    yield from visiting(chromium, guarded[0].url)


def test_a_key_opens_the_page(visitor: Visit, guarded: tuple[RunningServer, str], tmp_path: Path) -> None:
    """Led to sign in and back; a wrong key is said to be wrong; scans are sent, seen in the viewer and deleted."""
    page = visitor.page
    visitor.open("/?state=any")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("API key").fill("rf_nothing")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("API key").fill(guarded[1])
    page.get_by_label("API key").press("Enter")
    expect(page.get_by_role("heading", name="Scans")).to_be_visible()
    assert page.url == f"{visitor.url}/?state=any" and "ada" in page.locator("header").inner_text()
    path, _ = fish(tmp_path)
    page.set_input_files("#files", path)
    row = page.locator("#rows tr", has_text="fish_1.nii.gz")
    expect(row.locator(".state.succeeded")).to_be_visible(timeout=60_000)
    with page.expect_response(lambda answer: answer.status == 206):
        row.get_by_role("link").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this scan").click()
    page.wait_for_url(f"{visitor.url}/")
    expect(page.locator("#rows")).to_contain_text("No scans here yet.")


def test_signing_out_closes_it(visitor: Visit, guarded: tuple[RunningServer, str]) -> None:
    """The page is gone, also by the browser's way back."""
    visitor.open("/sign-in")
    visitor.page.get_by_label("API key").fill(guarded[1])
    visitor.page.get_by_role("button", name="Sign in").click()
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    visitor.open("/")
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not [cookie for cookie in visitor.page.context.cookies() if cookie.get("name") == "ricefish_session"]
