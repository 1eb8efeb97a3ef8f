"""Addresses in requests: only public ones, also behind redirects, in bounded time and size."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from swiftprof.serve import fetch as module
from swiftprof.serve.fetch import fetch, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1",
    ],
)  # fmt: skip
def test_inner_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_outer_addresses_are(address: str) -> None:
    assert is_public(address)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        to = {
            "/once": "/image",
            "/round": "/round",
            "/inner": "http://localhost:1/x",
            "/file": "file:///etc/passwd",
        }
        if self.path in to:
            self.send_response(302)
            self.send_header("Location", to[self.path])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        try:
            for _ in range(40 if self.path in ("/slow", "/large") else 1):
                self.wfile.write(b"x" * 1000)
                self.wfile.flush()
                time.sleep(0.1 if self.path == "/slow" else 0)
        except OSError:
            pass

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_images_are_fetched_and_redirects_followed(url: str) -> None:
    for path in ("/image", "/once"):
        assert fetch(url + path, allowed=lambda address: True) == b"x" * 1000


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/none", "answers 404"),
        ("/round", "more than 3 redirects"),
        ("/inner", "localhost is not a public address"),
        ("/file", "only http and https"),
        ("/large", "larger than"),
        ("/slow", "longer than|timed out"),
    ],
)
def test_what_is_not_fetched(
    url: str, path: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 30_000)
    monkeypatch.setattr(module, "SECONDS", 1.0 if path == "/slow" else 20.0)
    first = [True]

    def allowed(address: str) -> bool:  # the test's own server, but nothing it leads to
        return first.pop() if first else path in ("/round",)

    with pytest.raises((ValueError, OSError), match=says):
        fetch(url + path, allowed=allowed)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/", "http://user:word@example.org/", "ftp://example.org/a", "x"]
)
def test_addresses_that_are_not_even_tried(address: str) -> None:
    with pytest.raises(ValueError, match=r"not a public|not fetched|only http"):
        fetch(address)
