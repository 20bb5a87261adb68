"""Pages for people: answers in plain text, and the landing page, without scripts and external resources."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
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

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --page: #fff; --link: #0969da;
  --good: #1a7f37; --bad: #bc4c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117; --link: #4493f8;
    --good: #3fb950; --bad: #f0883e; }
}
body { margin: 0 auto; max-width: 42rem; padding: 3rem 1.25rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.75rem; }
h1 small { color: var(--soft); font-size: 1rem; font-weight: normal; }
p { margin: .25rem 0 2rem; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; margin: 0; border-top: 1px solid var(--line); }
dt, dd { margin: 0; padding: .5rem 0; border-bottom: 1px solid var(--line); }
dt { padding-right: 2rem; }
dd { overflow-wrap: anywhere; }
a { color: var(--link); }
.good { color: var(--good); }
.bad { color: var(--bad); }
"""


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
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dify-exporter</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>dify-exporter <small>{escape(version)}</small></h1>
<p>Prometheus exporter for the knowledge bases of Dify</p>
<dl>
{rows}
</dl>
</main>
</body>
</html>
"""
    return Response(page, media_type="text/html", headers=_HTML_HEADERS)


def _linked(name: str, path: str, problems: Mapping[str, str | None]) -> str:
    link = f'<a href="{escape("." + path)}">{escape(name)}</a>'
    if name not in problems:
        return _row(link, escape(path))
    bad = problems[name]
    return _row(link, '<span class="good">yes</span>' if bad is None else f'<span class="bad">{escape(bad)}</span>')


def _row(term: str, description: str) -> str:
    return f"<dt>{term}</dt><dd>{description}</dd>"
