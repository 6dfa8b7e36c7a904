"""Who may ask the server for anything: one token, once, then a cookie; no other host's pages."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
SAFE = ("GET", "HEAD")
# The page has its own scripts, styles and pictures; `blob:` and `data:` are pictures that it makes.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LOST = (
    "403: this address needs the token that munet web printed when it started, which opens the page once.\n"
    "Start munet web again with the same --out: everything is where it was.\n"
)


class Guard:
    """Stands before an application: nothing gets past it without the token or the cookie."""

    def __init__(self, app: App, port: int, cookie: str | None = None) -> None:
        """Guard `app`, which is served at `port`; `cookie` is that of an earlier server, whose pages are still open."""
        self.app, self.port = app, port
        self.token: str | None = secrets.token_urlsafe(24)
        self.cookie = cookie or secrets.token_urlsafe(32)
        self.name = f"munet_{port}"  # cookies do not know ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        problem = self._problem(request)
        if problem is not None:
            await self._with_headers(PlainTextResponse(problem, 403), scope, receive, send)
            return
        fresh = not self._has_cookie(request)
        if fresh:
            self.token = None
        await self._with_headers(self.app, scope, receive, send, fresh=fresh)

    async def _with_headers(
        self, app: App | Response, scope: Scope, receive: Receive, send: Send, *, fresh: bool = False
    ) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                    headers.append((b"cache-control", b"no-store"))
                if fresh:
                    given = f"{self.name}={self.cookie}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append((b"set-cookie", given.encode()))
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await app(scope, receive, sending)

    def _problem(self, request: Request) -> str | None:
        host = request.headers.get("host", "")
        if not self._is_own(host):
            return "403: asked for under another name than this server has\n"
        origin = request.headers.get("origin")
        if origin != f"http://{host}" and (origin is not None or request.method not in SAFE):
            return "403: asked for by a page of another origin\n"
        if self._has_cookie(request):
            return None
        given = request.query_params.get("token", "")
        is_page = request.method == "GET" and request.url.path == "/"
        if is_page and self.token is not None and hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return _LOST

    def _has_cookie(self, request: Request) -> bool:
        given = request.cookies.get(self.name, "")
        return hmac.compare_digest(given.encode(), self.cookie.encode())

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this machine by a number or its own name: a foreign name may lead here, too."""
        name, _, port = host.rpartition(":")
        if port != str(self.port):
            return False
        if name.lower() in ("localhost", socket.gethostname().lower()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True
