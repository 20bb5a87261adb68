"""The routes: metrics, health, readiness, reload and the landing page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from exporter.web.local import HEALTHY_PATH, READY_PATH
from exporter.web.pages import CONTENT_SECURITY_POLICY, landing_page
from exporter.web.reload import RELOAD_PATH, reload_endpoint
from exporter.web.scrape import scrape_endpoint

if TYPE_CHECKING:
    from starlette.requests import Request

    from exporter.web.reload import Reload, Unapplied
    from exporter.web.scrape import PageSource

Check = Callable[[], str | None]
"""None when healthy, else the problem in one line. Runs on the event loop: must not block."""

Facts = Callable[[], Mapping[str, object]]
"""The facts on the landing page: name and value, in order. Runs on the event loop: must not block."""

_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_SECURITY = {"X-Content-Type-Options": "nosniff"}


def create_app(
    source: PageSource,
    *,
    telemetry_path: str,
    version: str,
    healthy: Check,
    ready: Check,
    facts: Facts = dict,
    reload: Reload | None = None,
    unapplied: Unapplied = list,
) -> Starlette:
    """The web application. With ``telemetry_path`` "/" there is no landing page, without ``reload`` no reload route.

    ``unapplied``: the changed sections that require a restart. ValueError when the telemetry path is not a path or
    belongs to another route.
    """
    if not _PATH.fullmatch(telemetry_path) or telemetry_path in {HEALTHY_PATH, READY_PATH, RELOAD_PATH}:
        raise ValueError(
            f"telemetry path {telemetry_path!r}: must be a path such as /metrics, not the path of another page"
        )

    async def health(_request: Request) -> Response:
        return _verdict(healthy(), good="dify-exporter is healthy.")

    async def readiness(_request: Request) -> Response:
        return _verdict(ready(), good="dify-exporter is ready.")

    async def landing(_request: Request) -> Response:
        page = landing_page(
            version=version,
            links={"Metrics": telemetry_path, "Healthy": HEALTHY_PATH, "Ready": READY_PATH},
            verdicts={"Healthy": healthy(), "Ready": ready()},
            facts=facts(),
        )
        headers = {**_SECURITY, "Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
        return Response(page, media_type="text/html", headers=headers)

    routes = [
        Route(telemetry_path, scrape_endpoint(source), methods=["GET"]),
        Route(HEALTHY_PATH, health, methods=["GET"]),
        Route(READY_PATH, readiness, methods=["GET"]),
    ]
    if reload is not None:
        routes.append(Route(RELOAD_PATH, reload_endpoint(reload, unapplied), methods=["POST"]))
    if telemetry_path != "/":
        routes.append(Route("/", landing, methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse, Exception: _fail})
    app.router.redirect_slashes = False  # a redirect would repeat the Host header, which the client controls
    return app


def _text(text: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, headers={**_SECURITY, **(headers or {})})


def _verdict(wrong: str | None, *, good: str) -> Response:
    return _text(good, HTTPStatus.OK) if wrong is None else _text(wrong, HTTPStatus.SERVICE_UNAVAILABLE)


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer 404 or 405, the latter with the allowed methods."""
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette passes only the registered type
        raise error
    allow = (error.headers or {}).get("Allow", "")
    headers = {"Allow": ", ".join(sorted(allow.split(", ")))} if allow else {}
    return _text(error.detail, error.status_code, headers)


async def _fail(_request: Request, _error: Exception) -> Response:
    """Answer 500. The error itself goes to the log: it may reveal too much to a client."""
    return _text("Internal Server Error: see the log for details.", HTTPStatus.INTERNAL_SERVER_ERROR)
