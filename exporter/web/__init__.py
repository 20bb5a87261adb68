"""The HTTP side: routes and server."""

from exporter.web.address import ListenAddress, ListenError, parse_listen_address
from exporter.web.connections import ClientTimeouts
from exporter.web.reload import Reload
from exporter.web.routes import Check, Facts, create_app
from exporter.web.scrape import Page, PageSource
from exporter.web.security import WebSecurity
from exporter.web.server import WebServer

__all__ = [
    "Check",
    "Facts",
    "ListenAddress",
    "ListenError",
    "Page",
    "PageSource",
    "ClientTimeouts",
    "Reload",
    "WebSecurity",
    "WebServer",
    "create_app",
    "parse_listen_address",
]
