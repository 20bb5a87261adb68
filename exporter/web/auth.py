"""Wraps all routes: checks passwords and adds the headers of the web config file."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from exporter.web.local import is_health_check
from exporter.web.passwords import PasswordResult, PasswordVerifier, basic_credentials

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.web.web_config import Settings, WebConfigFile

AUTHENTICATED: Final = "authenticated"
"""Key in a request's state: True once the client is authenticated, by password or by certificate."""

_CHALLENGE: Final = 'Basic realm="dify-exporter", charset="UTF-8"'


class WebConfigMiddleware:
    """An ASGI application that wraps ``app``."""

    def __init__(self, app: ASGIApp, web_config: WebConfigFile, verifier: PasswordVerifier) -> None:
        self._app = app
        self._web_config = web_config
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        settings = self._web_config.settings
        send = _with_headers(send, settings)
        if not settings.users or is_health_check(HTTPConnection(scope)):
            await self._app(scope, receive, send)
            return
        match await self._verify(scope, settings):
            case PasswordResult.CORRECT:
                scope.setdefault("state", {})[AUTHENTICATED] = True
                await self._app(scope, receive, send)
            case PasswordResult.WRONG:
                headers = {"WWW-Authenticate": _CHALLENGE}
                await _refusal("Unauthorized", HTTPStatus.UNAUTHORIZED, headers)(scope, receive, send)
            case PasswordResult.BUSY:
                text = "Too Many Requests: too many passwords are waiting to be verified."
                await _refusal(text, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": "1"})(scope, receive, send)

    async def _verify(self, scope: Scope, settings: Settings) -> PasswordResult:
        credentials = basic_credentials([value for name, value in scope["headers"] if name == b"authorization"])
        if credentials is None:
            return PasswordResult.WRONG
        client = scope.get("client")
        return await self._verifier.verify(settings.users, credentials, client[0] if client else "")


def _refusal(text: str, status: int, headers: dict[str, str]) -> PlainTextResponse:
    return PlainTextResponse(text + "\n", status, headers={"X-Content-Type-Options": "nosniff", **headers})


def _with_headers(send: Send, settings: Settings) -> Send:
    """``send`` with the configured headers replacing headers of the same name."""
    if not settings.headers:
        return send
    names = {name for name, _ in settings.headers}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in names]
            message = {**message, "headers": [*kept, *settings.headers]}
        await send(message)

    return sending
