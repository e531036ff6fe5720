"""mqtt.js from a page in a browser, as the page's users have it: over ws and wss."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
from asyncio import to_thread
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from noctule.broker import Broker
from tests.conformance.certificates import folder
from tests.integration.interop.conftest import NODE_MODULES

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
LIBRARY = NODE_MODULES / "node_modules" / "mqtt" / "dist" / "mqtt.min.js"
PAGES = HERE / "browser"
FILES = {
    "/both.html": PAGES / "both.html",
    "/page.html": PAGES / "page.html",
    "/mqtt.js": LIBRARY,
}
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript"}
WAIT_SECONDS = 50.0


def find_browser() -> str:
    """Skips the test where there is no browser, or no library for the page."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    if not LIBRARY.is_file():
        pytest.skip("mqtt.js is not installed; `make test-python` does that where there is npm")
    return found


class PageServer:
    """Serves the page on this machine and takes what it tells."""

    def __init__(self) -> None:
        self.told: Queue[dict[str, object]] = Queue()
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = FILES.get(self.path.partition("?")[0])
                self.send_response(200 if file else 404)
                content = file.read_bytes() if file else b""
                self.send_header("Content-Type", TYPES[file.suffix] if file else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def page(self, urls: list[str]) -> str:
        """The page twice: of this host by its number, and by another name."""
        query = urlencode({"url": urls}, doseq=True)
        return f"http://127.0.0.1:{self.port}/both.html?{query}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def pages() -> Iterator[PageServer]:
    server = PageServer()
    yield server
    server.stop()


@contextmanager
def browsing(profile: Path, page: str) -> Iterator[None]:
    """A browser with this page open; it trusts the tests' own server certificate."""
    certificate = x509.load_pem_x509_certificate((folder() / "server.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(key).digest()).decode()
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--no-proxy-server",
        f"--ignore-certificate-errors-spki-list={fingerprint}",
        f"--user-data-dir={profile}",
    ]
    with (profile.parent / "browser.log").open("w") as log:
        process = subprocess.Popen(
            [find_browser(), *options, page],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(profile.parent)},
            start_new_session=True,
        )
        try:
            yield
        finally:
            # It is several processes.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def test_page_of_this_host_and_listed_ones_exchange_messages(
    tmp_path: Path, pages: PageServer
) -> None:
    find_browser()
    files = {
        "tls_certificate": str(folder() / "server.pem"),
        "tls_key": str(folder() / "server.key"),
    }
    listed = f"http://localhost:{pages.port}"
    listeners = [
        {"scheme": "ws", "port": 0},
        {"scheme": "wss", "port": 0, **files},
        {"scheme": "ws", "port": 0, "origins": [listed], "websocket_compression": True},
    ]
    async with Broker(listeners=listeners) as broker:
        urls = broker.addresses
        expected = {
            # The broker's own host by the same name; then by another one.
            f"http://127.0.0.1:{pages.port}": ["round trip"] * 3,
            listed: ["closed", "closed", "round trip"],
        }
        with browsing(tmp_path / "profile", pages.page(urls)):
            told = [await to_thread(pages.told.get, timeout=WAIT_SECONDS) for _ in expected]
        outcomes = {each["origin"]: each["outcomes"] for each in told}
        assert outcomes == expected, (tmp_path / "browser.log").read_text()
