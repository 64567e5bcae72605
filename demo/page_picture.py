"""The picture of the page in docs/: a server of a model, a scan sent to it, and what a browser shows.

python -m demo.page_picture --model models/student --scan fish.nii.gz --picture docs/page.png
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image

from demo.parts import DemoError
from demo.server import running_server
from ricefish.client import Client
from training.phantom.fish import FIRST_HELD_OUT_FISH, make_phantom, write_phantom_scan

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_SIZE = (1280, 960)
_COLOURS = 256
"""Of the picture, which makes it small; rare ones count as much as frequent ones."""
_DRAWN_SECONDS = 8.0
"""For the viewer to have drawn what it has fetched."""


def page_picture(url: str, scan_id: str) -> Image.Image:
    """The page of a scan as a browser shows it. Raises DemoError where none is installed."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  half a second that only this needs

    program = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        raise DemoError(f"no browser is installed: none of {', '.join(_BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_OPTIONS))
        page = browser.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]})
        page.goto(f"{url}/scans/{scan_id}")
        page.frame_locator("iframe").locator(".neuroglancer-rendered-data-panel").first.wait_for()
        time.sleep(_DRAWN_SECONDS)
        shown = page.screenshot()
        browser.close()
    return Image.open(io.BytesIO(shown)).convert("RGB").quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE)


def main() -> None:
    """Serves, sends, looks, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/student", help="a folder with model.onnx and manifest.json")
    parser.add_argument("--scan", type=Path, help="the scan; a synthetic fish else")
    parser.add_argument("--picture", type=Path, default=Path("docs/page.png"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ricefish-page-") as name:
        folder = Path(name)
        scan = given.scan or folder / "fish_1.nii.gz"
        if given.scan is None:
            phantom = make_phantom(seed=1, fish=FIRST_HELD_OUT_FISH, beamtime=1, shape=(96, 120, 120))
            write_phantom_scan(phantom, scan)
        model = str(Path(given.model).resolve()) if Path(given.model).is_dir() else given.model
        with (
            running_server(model, store=folder / "store", log_path=folder / "server.log", folder=Path.cwd()) as url,
            Client(url) as client,
        ):
            posted = client.submit(scan)
            for _ in client.wait(posted.id):
                pass
            page_picture(url, posted.id).save(given.picture, optimize=True)


if __name__ == "__main__":
    main()
