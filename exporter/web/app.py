"""The application: every endpoint with its path, its method and its function."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Route

from exporter import __version__
from exporter.web.auth import HealthRoute, is_authenticated, is_local
from exporter.web.pages import landing_page, plain_text
from exporter.web.scrape import scrape_endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from exporter.metrics import Format, Page

    _Answer = Callable[[Request], Awaitable[Response]]

_HEALTHY: Final = "/-/healthy"
_READY: Final = "/-/ready"
_NO_FILE: Final = (
    "There is no configuration file to reload: the configuration comes from environment variables and options. Restart "
    "the exporter to change it, or start it with --config.file."
)
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterStatus:
    """The running exporter as its pages show it. The functions are called for each request.

    All but ``reload`` run on the event loop and must not block.
    """

    unhealthy: Callable[[], str | None] = lambda: None
    """Why the exporter is unhealthy, in one line; None while it is healthy."""
    unready: Callable[[], str | None] = lambda: None
    """Why the exporter is not ready, in one line; None once it is ready."""
    facts: Callable[[], Mapping[str, object]] = dict
    """The facts on the landing page: name and value, in order."""
    reload: Callable[[], str | None] | None = None
    """Reloads the configuration. Returns None on success, else the problems. Runs in a worker thread.

    None if the configuration has no file that could have changed.
    """
    needs_restart: Callable[[], Sequence[str]] = list
    """The changed sections of the configuration that require a restart."""


def create_app(page: Callable[[Format], Page], status: ExporterStatus, *, telemetry_path: str) -> Starlette:
    """The web application. With ``telemetry_path`` "/" there is no landing page.

    ``page`` returns the current metrics in a format; it is called in worker threads. ValueError when the telemetry
    path is not a path or belongs to another route.
    """
    routes: list[Route] = []
    reloading = asyncio.Lock()  # waiting requests occupy no thread

    def endpoint(path: str, method: str = "GET", of: type[Route] = Route) -> Callable[[_Answer], None]:
        return lambda answer: routes.append(of(path, answer, methods=[method]))

    @endpoint(_HEALTHY, of=HealthRoute)
    async def health(_request: Request) -> Response:
        return _verdict(status.unhealthy(), good="dify-exporter is healthy.")

    @endpoint(_READY, of=HealthRoute)
    async def readiness(_request: Request) -> Response:
        return _verdict(status.unready(), good="dify-exporter is ready.")

    @endpoint("/-/reload", "POST")
    async def reload(request: Request) -> Response:
        if (reason := _reload_forbidden(request)) is not None:
            return plain_text(f"Forbidden: {reason}", HTTPStatus.FORBIDDEN)
        async with reloading:
            return await _reload(status)

    if not _PATH.fullmatch(telemetry_path) or telemetry_path in {route.path for route in routes}:
        raise ValueError(
            f"telemetry path {telemetry_path!r}: must be a path such as /metrics, not the path of another page"
        )
    endpoint(telemetry_path)(scrape_endpoint(page))

    if telemetry_path != "/":

        @endpoint("/")
        async def landing(_request: Request) -> Response:
            return landing_page(
                version=__version__,
                links={"Metrics": telemetry_path, "Healthy": _HEALTHY, "Ready": _READY},
                problems={"Healthy": status.unhealthy(), "Ready": status.unready()},
                facts=status.facts(),
            )

    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse, Exception: _fail})
    app.router.redirect_slashes = False  # a redirect would repeat the Host header, which the client controls
    return app


def _reload_forbidden(request: Request) -> str | None:
    """Why the client may not reload; None if it may."""
    if "origin" in request.headers:
        return "web pages cannot trigger a reload; use a command such as curl -X POST."
    if is_authenticated(request) or is_local(request):
        return None
    return (
        "reload from the machine itself, send SIGHUP to the process, or set basic_auth_users in the file of "
        "--web.config.file and authenticate."
    )


async def _reload(status: ExporterStatus) -> Response:
    if status.reload is None:
        return plain_text(_NO_FILE, HTTPStatus.CONFLICT)
    problems = await run_in_threadpool(status.reload)
    if problems is not None:
        return plain_text(problems, HTTPStatus.INTERNAL_SERVER_ERROR)
    sections = ", ".join(status.needs_restart())
    more = f" Changes in {sections} require a restart." if sections else ""
    return plain_text("Configuration reloaded." + more)


def _verdict(problem: str | None, *, good: str) -> Response:
    return plain_text(good) if problem is None else plain_text(problem, HTTPStatus.SERVICE_UNAVAILABLE)


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer 404 or 405, the latter with the allowed methods."""
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette passes only the registered type
        raise error
    allow = (error.headers or {}).get("Allow", "")
    headers = {"Allow": ", ".join(sorted(allow.split(", ")))} if allow else {}
    return plain_text(error.detail, error.status_code, headers)


async def _fail(_request: Request, _error: Exception) -> Response:
    """Answer 500. The error itself goes to the log: it may reveal too much to a client."""
    return plain_text("Internal Server Error: see the log for details.", HTTPStatus.INTERNAL_SERVER_ERROR)
