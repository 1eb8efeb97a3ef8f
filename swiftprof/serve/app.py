"""The routes: `/v1/chat/completions`, `/v1/models`, `/health`, and the page at `/`."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from swiftprof.serve.errors import ApiError
from swiftprof.serve.generation import Event
from swiftprof.serve.page import Page
from swiftprof.serve.reply import END, Reply, event
from swiftprof.serve.request import ChatRequest, parse
from swiftprof.serve.service import Events, Service

GRACE = 30.0
"""Seconds that answers have to end when the server is told to stop."""


def create_app(
    service: Service, *, api_key: str | None = None, hosts: list[str] | None = None
) -> FastAPI:
    """The application.

    Args:
        api_key: what `/v1` asks for as a bearer token.
        hosts: names by which the server may be called; None takes any. Set for loopback, so that a
            page elsewhere cannot reach it under a name of its own (DNS rebinding).
    """
    began = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close(GRACE)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    page = Page.of(service, needs_key=api_key is not None)

    def check_key(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if api_key is not None and not hmac.compare_digest(given.encode(), api_key.encode()):
            raise ApiError(401, "missing or wrong API key", code="invalid_api_key")

    def model(name: str) -> dict[str, Any]:
        card = service.variants[name].card()
        head = {"id": name, "object": "model", "created": began, "owned_by": service.vlm.name}
        return {**head, "swiftprof": card}

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError) -> Response:
        return _refusal(error)

    @app.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> Response:
        text = f"{request.method} {request.url.path}: {error.detail}"
        return _refusal(ApiError(error.status_code, text))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _refusal(ApiError(500, f"the server failed: {type(error).__name__}"))

    @app.get("/")
    async def show_page() -> Response:
        return HTMLResponse(page.html, headers=page.headers)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "waiting": service.waiting}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        check_key(request)
        return {"object": "list", "data": [model(name) for name in service.variants]}

    @app.get("/v1/models/{name:path}")
    async def one_model(request: Request, name: str) -> dict[str, Any]:
        check_key(request)
        if name not in service.variants:
            raise ApiError(404, f"the model {name[:100]!r} does not exist", code="model_not_found")
        return model(name)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        check_key(request)
        asked = await asyncio.to_thread(parse, await _body(request, service.limits.body))
        return _Answer(service, asked)

    return app


def _refusal(error: ApiError) -> Response:
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse(error.body, status_code=error.status, headers=headers)


async def _body(request: Request, most: int) -> Any:
    """The JSON of a request, read up to a size. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of a page elsewhere cannot send this unasked
        raise ApiError(415, "Content-Type must be application/json")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > most:
                raise ApiError(413, f"the request is larger than {most // 10**6} MB")
    except ClientDisconnect:
        raise ApiError(400, "the client hung up") from None
    try:
        return await asyncio.to_thread(json.loads, bytes(content))
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from None


class _Answer(Response):
    """Runs a request and sends its answer, as one document or as a stream.

    A response of its own because both kinds watch for clients that hang up: their rows leave the
    batch at the next token.
    """

    def __init__(self, service: Service, asked: ChatRequest) -> None:
        super().__init__()
        self._service, self._asked = service, asked
        self._reply = Reply(asked.model, asked.swiftprof.trace)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._work(scope, receive, send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response
        try:
            async with self._service.answer(self._asked) as events:
                first = await events.get()  # what fails before it is told by a status
                if isinstance(first, ApiError):
                    raise first
                if self._asked.stream:
                    await self._stream(first, events, send)
                    return
                response = await self._whole(first, events)
        except ApiError as error:
            response = _refusal(error)
        await response(scope, receive, send)

    async def _whole(self, found: Event, events: Events) -> Response:
        text = ""
        while isinstance(found, str):
            text += found
            found = await events.get()
        if isinstance(found, ApiError):
            raise found
        return JSONResponse(self._reply.whole(text, found))

    async def _stream(self, found: Event, events: Events, send: Send) -> None:
        head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": head})

        async def write(content: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        reply, options = self._reply, self._asked.stream_options
        await write(reply.chunk({"role": "assistant", "content": ""}))
        while isinstance(found, str):
            await write(reply.chunk({"content": found}))
            found = await events.get()
        if isinstance(found, ApiError):
            await write(event(found.body))
        else:
            await write(reply.chunk({}, found))
            if options is not None and options.include_usage:
                await write(reply.totals(found))
        await write(END, more=False)


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return when the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
