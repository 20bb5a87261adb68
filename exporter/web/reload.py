"""POST /-/reload: reloads the configuration for authorized clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from exporter.web.auth import AUTHENTICATED
from exporter.web.local import is_local

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request
    from starlette.responses import Response

RELOAD_PATH: Final = "/-/reload"

Reload = Callable[[], str | None]
"""Reloads the configuration. Returns None on success, else the problems. Runs in a worker thread."""

Unapplied = Callable[[], Sequence[str]]
"""The changed sections that require a restart."""

_STRANGER = (
    "Forbidden: reload from the machine itself, send SIGHUP to the process, or set basic_auth_users in the file of "
    "--web.config.file and authenticate."
)
_WEB_PAGE = "Forbidden: web pages cannot trigger a reload; use a command such as curl -X POST."


def reload_endpoint(reload: Reload, unapplied: Unapplied) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for POST. One reload at a time; others wait without occupying a thread."""
    turn = asyncio.Lock()

    async def answer(request: Request) -> Response:
        if "origin" in request.headers:
            return _text(_WEB_PAGE, HTTPStatus.FORBIDDEN)
        if not (request.scope.get("state", {}).get(AUTHENTICATED) or is_local(request)):
            return _text(_STRANGER, HTTPStatus.FORBIDDEN)
        async with turn:
            wrong = await run_in_threadpool(reload)
        if wrong is None:
            return _text(_done(unapplied()), HTTPStatus.OK)
        return _text(wrong, HTTPStatus.INTERNAL_SERVER_ERROR)

    return answer


def _done(unapplied: Sequence[str]) -> str:
    done = "Configuration reloaded."
    return f"{done} Changes in {', '.join(unapplied)} require a restart." if unapplied else done


def _text(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status, headers={"X-Content-Type-Options": "nosniff"})
