"""Fetching an image from an address that a stranger gave: bounded, and never from inside.

A server that opens what it is told to can be made to ask its own network. So the name is looked up
once, every address it has must be public, the connection goes to the address that was checked, and
a redirect starts over.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

MAX_BYTES, SECONDS, REDIRECTS, LONGEST = 20_000_000, 10.0, 3, 2000
_CHUNK = 1 << 16


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public network, also inside an IPv6 disguise."""
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if inner or found in ipaddress.ip_network("64:ff9b::/96"):
            return bool(inner) and is_public(str(inner))
    return found.is_global and not found.is_multicast


def fetch(url: str, *, allowed: Callable[[str], bool] = is_public) -> bytes:
    """The bytes at an http(s) address.

    Args:
        allowed: IP address → whether to connect to it.

    Raises:
        ValueError: an address that is not fetched, too many redirects, too much, too slow.
        OSError: not reachable.
    """
    end = time.monotonic() + SECONDS
    for _ in range(REDIRECTS + 1):
        connection, path = _connect(url, allowed, end)
        try:
            connection.request(
                "GET", path, headers={"User-Agent": "swiftprof", "Accept": "image/*"}
            )
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.getheader("Location") or "")
                continue
            if answer.status != 200:
                raise ValueError(f"its server answers {answer.status}")
            return _read(answer, connection, end)
        except http.client.HTTPException as error:
            raise OSError(f"its server's answer makes no sense ({error})") from None
        finally:
            connection.close()
    raise ValueError(f"more than {REDIRECTS} redirects")


def _read(
    answer: http.client.HTTPResponse, connection: http.client.HTTPConnection, end: float
) -> bytes:
    content = bytearray()
    while True:
        _wait_at_most(connection, end)
        chunk = answer.read1(_CHUNK)
        if not chunk:
            return bytes(content)
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES // 10**6} MB")


def _wait_at_most(connection: http.client.HTTPConnection, end: float) -> None:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"took longer than {SECONDS:g} s")
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _connect(
    url: str, allowed: Callable[[str], bool], end: float
) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the checked address of a URL's host, and the path to ask it for."""
    parts = urlsplit(url)
    if len(url) > LONGEST or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("only http and https addresses are fetched")
    if parts.username or parts.password:
        raise ValueError("addresses with a user name are not fetched")
    secure = parts.scheme == "https"
    host, port = parts.hostname, parts.port or (443 if secure else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if not addresses or not all(map(allowed, addresses)):
        raise ValueError(f"{host} is not a public address")
    plain = socket.create_connection((addresses[0], port), max(0.1, end - time.monotonic()))
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(host, port)
    try:
        connection.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            if secure
            else plain
        )
    except OSError:
        plain.close()
        raise
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return connection, path.replace(" ", "%20")
