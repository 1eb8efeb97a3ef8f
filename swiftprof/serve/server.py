"""Running the application until a signal says stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from swiftprof.errors import BadParameter
from swiftprof.serve.app import GRACE

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Server(uvicorn.Server):
    """Ends as a program that did its work, instead of sending itself the signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in wanted}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadParameter where that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = f"cannot listen there: {why.lower()}; choose another `port` or `host`"
        raise BadParameter("host and port", f"{host}:{port}", text) from None


def allowed_hosts(host: str) -> list[str] | None:
    """Names by which a server at this address may be called: any, unless it is loopback."""
    return ["127.0.0.1", "localhost", "[::1]", "::1"] if host in LOOPBACK else None


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; then no request is taken, and those that run are answered."""
    config = uvicorn.Config(
        app, log_level="warning", lifespan="on", timeout_graceful_shutdown=int(GRACE)
    )
    _Server(config).run(sockets=[listening])
