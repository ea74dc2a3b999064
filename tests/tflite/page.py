"""The web page in headless Chromium."""

import http.server
from pathlib import Path

import numpy as np

from tflite.web import bundle

WEB = Path(bundle.__file__).parent


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the page with another folder's models and pictures."""

    def __init__(self, *args, bundled, **kwargs):
        self.bundled = bundled
        super().__init__(*args, directory=str(WEB), **kwargs)

    def translate_path(self, path):
        if path.startswith(("/models/", "/pictures/")):
            return str(self.bundled / path.lstrip("/"))
        return super().translate_path(path)

    def log_message(self, *args):
        pass


def idle(page):
    page.wait_for_selector('main[aria-busy="false"]')


def answer(page):
    """The names and the probabilities on the page, and Keras's where they are shown."""
    rows = page.locator("#answer tbody tr").all()
    names = [row.locator("th").inner_text() for row in rows]
    shares = [[float(each.get_attribute("value")) for each in row.locator("data").all()] for row in rows]
    return names, np.array(shares)


def drop(page, *paths, types=None):
    """Drops files on the page together; `types` are their MIME types, where they matter."""
    types = types or [""] * len(paths)
    page.evaluate(
        """async (files) => {
            const transfer = new DataTransfer();
            for (const [name, bytes, type] of files) {
                transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
            }
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [[path.name, list(path.read_bytes()), type] for path, type in zip(paths, types, strict=True)],
    )
    idle(page)
