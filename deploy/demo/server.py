"""The server of the page: fixed routes, limits on uploads, no access to files by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.demo.response import jpeg, response
from final_model_stage.image_reader import DecodeError, decode_image
from final_model_stage.reporting.templates import fill
from final_model_stage.segmentation import Segmenter
from preprocessing_stage.dataset.shrink import shrink

PAGE = Path(__file__).parent / "page"
THUMBNAIL = 240
"""Pixels of an example's longest side."""
MAX_WAITING = 8
"""Photographs that may wait while another is segmented; further ones are refused."""
CONNECTIONS = 4 * MAX_WAITING
"""At the same time; further ones are refused, since each may hold an upload in memory."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLL = 0.5
"""Seconds between two looks whether a waiting client is still there."""

HEADERS = {
    # Enforced by the browser: the page loads nothing from and sends nothing to other sites.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class SecurityHeaders:
    """Middleware that adds HEADERS to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Demo:
    """A segmenter, examples to try it on, and limits on what may be uploaded."""

    def __init__(
        self,
        segmenter: Segmenter,
        name: str,
        examples: Sequence[Path],
        *,
        max_bytes: int,
        max_pixels: int,
    ) -> None:
        """name: the segmenter's, shown on the page. Raises DecodeError for a damaged example."""
        self.segmenter, self.examples = segmenter, list(examples)
        self.max_bytes, self.max_pixels = max_bytes, max_pixels
        self._one_at_a_time = asyncio.Semaphore(1)
        self._pending = 0
        self._page = fill(
            PAGE / "index.html.j2",
            name=name,
            tree=segmenter.tree,
            megabytes=max_bytes // 1_000_000,
            examples=[self._thumbnail(path) for path in examples],
        )

    def routes(self) -> list[Route]:
        return [
            Route("/", self.show_page),
            Route("/page.js", self._asset("page.js", "text/javascript")),
            Route("/page.css", self._asset("page.css", "text/css")),
            Route("/segment", self.segment_upload, methods=["POST"]),
            Route("/examples/{number:int}", self.segment_example, methods=["POST"]),
        ]

    async def show_page(self, _: Request) -> Response:
        return HTMLResponse(self._page)

    async def segment_upload(self, request: Request) -> Response:
        """The body of the request is an image file."""
        # Another site's page may send this type only after a preflight request, which fails.
        if request.headers.get("content-type") != "application/octet-stream":
            raise HTTPException(415, "send the image file itself, as application/octet-stream")
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > self.max_bytes:
                raise HTTPException(
                    413, f"more than {self.max_bytes / 1e6:g} MB; send a smaller file"
                )
        return await self._respond(request, bytes(content))

    async def segment_example(self, request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(self.examples):
            raise HTTPException(404, f"there are {len(self.examples)} examples")
        return await self._respond(request, self.examples[number])

    async def _respond(self, request: Request, source: Path | bytes) -> Response:
        if self._pending > MAX_WAITING:
            raise HTTPException(503, "busy with other photographs; try again in a minute")
        self._pending += 1
        try:
            await self._wait_for_turn(request)
            try:
                content = await run_in_threadpool(self._segment, source)
            finally:
                self._one_at_a_time.release()
        except DecodeError as error:
            raise HTTPException(422, str(error)) from error
        finally:
            self._pending -= 1
        return JSONResponse(content)

    async def _wait_for_turn(self, request: Request) -> None:
        """Raises HTTPException if the client goes away meanwhile: its place is for others."""
        while True:
            try:
                await asyncio.wait_for(self._one_at_a_time.acquire(), POLL)
            except TimeoutError:
                if await request.is_disconnected():
                    raise HTTPException(499, "the client has gone") from None
            else:
                return

    def _segment(self, source: Path | bytes) -> dict[str, Any]:
        return response(self.segmenter, self._decode(source))

    def _decode(self, source: Path | bytes) -> np.ndarray:
        return decode_image(source, self.max_pixels).image

    def _thumbnail(self, path: Path) -> str:
        try:
            return jpeg(shrink(self._decode(path), THUMBNAIL))
        except DecodeError as error:
            raise DecodeError(f"{path}: {error}") from error

    def _asset(self, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        content = (PAGE / name).read_bytes()

        async def send(_: Request) -> Response:
            return Response(content, media_type=kind)

        return send


async def error_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def make_app(demo: Demo, host: str, allowed_hosts: Sequence[str] = ()) -> Starlette:
    """host: the address at which the page is served. allowed_hosts: names under which others reach
    it, for example behind a proxy; without any, a page on loopback takes its own names alone."""
    # Against DNS rebinding: a foreign name that resolves to this machine is refused.
    hosts = [*LOOPBACK, "[::1]", *allowed_hosts] if host in LOOPBACK or allowed_hosts else ["*"]
    return Starlette(
        routes=demo.routes(),
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        ],
        exception_handlers={HTTPException: error_response},
    )
