"""The page /docs in a real browser: what a person does there works, pictures included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.serving.browser import NAMES, browsing, installed
from tests.serving.conftest import Example
from tests.serving.running import RunningServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(installed() is None, reason=f"no browser is installed: none of {', '.join(NAMES)}"),
]

_FILL = """
((call, values) => {
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const choose = Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set;
  for (const [name, value] of Object.entries(values)) {
    const field = call.querySelector(`tr[data-param-name="${name}"]`).querySelector('input, select');
    (field.tagName === 'SELECT' ? choose : set).call(field, value);
    field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true}));
  }
})
"""


def test_a_picture_is_shown_where_it_was_tried(server: RunningServer, example: Example, tmp_path: Path) -> None:
    """The first call that the page shows posts a scan; a slice that is asked for below is drawn, not refused."""
    scan = server.until_ended(server.post(example.path, "fish.nii.gz").json()["id"])
    with browsing(tmp_path / "profile") as page:
        page.open(f"{server.url}/docs")
        page.until("document.querySelectorAll('.opblock').length > 30")
        assert page.run("document.querySelector('.opblock-summary-path').dataset.path") == "/v1/scans"
        assert page.run("document.querySelector('.opblock-summary-method').textContent") == "POST"
        call = "document.querySelector('#operations-results-get_slice')"
        page.run(f"{call}.querySelector('.opblock-summary-control').click()")
        page.until(f"{call}.querySelectorAll('tr[data-param-name]').length >= 4")
        values = f"{{scan_id: '{scan['id']}', axis: 'z', index: '5'}}"
        page.run(f"{_FILL}({call}, {values})")
        shown = f"{call}.querySelector('.live-responses-table img')"
        page.until(f"({call}.querySelector('button.execute').click(), {shown} !== null)")  # fields take a moment
        page.until(f"{shown}.complete && {shown}.naturalWidth")
        status = f"{call}.querySelector('.live-responses-table tbody .response-col_status').textContent"
        assert page.run(status) == "200"
        page.run(f"{shown}.scrollIntoView({{block: 'center'}})")
        assert not [message for message in page.messages if "Content Security Policy" in message]
        if (kept := os.environ.get("RICEFISH_TEST_SCREENSHOT")) is not None:
            page.screenshot(Path(kept))
