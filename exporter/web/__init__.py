"""The HTTP side: routes and server."""

from exporter.web.address import ListenAddress, ListenError, parse_listen_address
from exporter.web.app import Check, Facts, create_app
from exporter.web.connections import ClientTimeouts
from exporter.web.reload import Reload
from exporter.web.scrape import Page, PageSource
from exporter.web.server import WebServer
from exporter.web.web_config import WebConfigFile

__all__ = [
    "Check",
    "ClientTimeouts",
    "Facts",
    "ListenAddress",
    "ListenError",
    "Page",
    "PageSource",
    "Reload",
    "WebConfigFile",
    "WebServer",
    "create_app",
    "parse_listen_address",
]
