"""The web page in headless Chromium."""

import http.server
from pathlib import Path

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
