"""Pages for people: answers in plain text, and the landing page, without scripts and external resources."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}
"""The header of every answer that forbids browsers to guess its type."""

_HTML_HEADERS: Final = {
    **NO_SNIFFING,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

_LANDING: Final = Template(resources.files("exporter.web").joinpath("landing.html").read_text(encoding="utf-8"))


def plain_text(text: str, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with ``text``, to which a line break is added."""
    return PlainTextResponse(text + "\n", status, headers={**NO_SNIFFING, **(headers or {})})


def landing_page(
    *, version: str, links: Mapping[str, str], problems: Mapping[str, str | None], facts: Mapping[str, object]
) -> Response:
    """What the program is, its state, and links. All values are escaped.

    Links are absolute paths and are rendered as relative ones, so that they work behind a proxy's prefix too. A link
    whose name is in ``problems`` shows the problem, or "yes" for None.
    """
    linked = [_linked(name, path, problems) for name, path in links.items()]
    rows = "\n".join([*linked, *(_row(escape(name), escape(str(value))) for name, value in facts.items())])
    page = _LANDING.substitute(version=escape(version), rows=rows)
    return Response(page, media_type="text/html", headers=_HTML_HEADERS)


def _linked(name: str, path: str, problems: Mapping[str, str | None]) -> str:
    link = f'<a href="{escape("." + path)}">{escape(name)}</a>'
    if name not in problems:
        return _row(link, escape(path))
    bad = problems[name]
    return _row(link, '<span class="good">yes</span>' if bad is None else f'<span class="bad">{escape(bad)}</span>')


def _row(term: str, description: str) -> str:
    return f"<dt>{term}</dt><dd>{description}</dd>"
