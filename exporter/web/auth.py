"""Who is asking: applies users and headers of the web config file to every request, recognizes local clients."""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from exporter.web.pages import plain_text
from exporter.web.passwords import PasswordResult, PasswordVerifier, basic_credentials

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.web.connections import ClientConnection
    from exporter.web.web_config import Settings, WebConfigFile

AUTHENTICATED: Final = "authenticated"
"""Key in a request's state: True once the client is authenticated, by password or by certificate."""

CONNECTION: Final = "connection"
"""Key in a request's state: the ``ClientConnection`` on which it arrived."""

_CHALLENGE: Final = 'Basic realm="dify-exporter", charset="UTF-8"'
_PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


class HealthRoute(Route):
    """A route for health checks: clients on the machine itself need no password.

    If health checks required a password, a hung exporter would answer them the same way and would never be restarted.
    """


def is_local(request: HTTPConnection) -> bool:
    """Whether the client is on this machine and is not a proxy that forwards for a client elsewhere."""
    if request.client is None or any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_authenticated(request: HTTPConnection) -> bool:
    """Whether the client has presented a correct password or a verified certificate."""
    return bool(request.scope.get("state", {}).get(AUTHENTICATED))


class WebConfigMiddleware:
    """An ASGI application that wraps ``app``: checks passwords and adds the configured headers."""

    def __init__(self, app: ASGIApp, web_config: WebConfigFile, verifier: PasswordVerifier) -> None:
        self._app = app
        self._web_config = web_config
        self._verifier = verifier
        routes = app.routes if isinstance(app, Starlette) else []
        self._health_paths = {route.path for route in routes if isinstance(route, HealthRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        settings = self._web_config.settings
        send = _with_headers(send, settings)
        if not settings.users or self._is_health_check(HTTPConnection(scope)):
            await self._app(scope, receive, send)
            return
        match await self._verify(scope, settings):
            case PasswordResult.CORRECT:
                scope.setdefault("state", {})[AUTHENTICATED] = True
                await self._app(scope, receive, send)
            case PasswordResult.WRONG:
                headers = {"WWW-Authenticate": _CHALLENGE}
                await plain_text("Unauthorized", HTTPStatus.UNAUTHORIZED, headers)(scope, receive, send)
            case PasswordResult.BUSY:
                text = "Too Many Requests: too many passwords from this address are waiting to be verified."
                headers = {"Retry-After": "1"}
                await plain_text(text, HTTPStatus.TOO_MANY_REQUESTS, headers)(scope, receive, send)

    def _is_health_check(self, request: HTTPConnection) -> bool:
        health_check = request.scope["path"] in self._health_paths and "authorization" not in request.headers
        return health_check and is_local(request)

    async def _verify(self, scope: Scope, settings: Settings) -> PasswordResult:
        credentials = basic_credentials([value for name, value in scope["headers"] if name == b"authorization"])
        if credentials is None:
            return PasswordResult.WRONG
        client = scope.get("client")
        address = client[0] if client else ""
        connection: ClientConnection | None = scope.get("state", {}).get(CONNECTION)
        if connection is None:
            return await self._verifier.verify(settings.users, credentials, address)
        with connection.unverified():
            return await self._verifier.verify(settings.users, credentials, address, lambda: not connection.closed)


def _with_headers(send: Send, settings: Settings) -> Send:
    """``send`` with the configured headers replacing headers of the same name."""
    if not settings.headers:
        return send
    names = {name for name, _ in settings.headers}

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [(name, value) for name, value in message["headers"] if name.lower() not in names]
            message = {**message, "headers": [*others, *settings.headers]}
        await send(message)

    return send_with_headers
