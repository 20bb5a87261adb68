"""The HTTP side: endpoints and server."""

from exporter.web.address import ListenAddress, ListenError, parse_listen_address
from exporter.web.app import ExporterStatus, create_app
from exporter.web.connections import ClientTimeouts
from exporter.web.server import WebServer
from exporter.web.web_config import WebConfigFile

__all__ = [
    "ClientTimeouts",
    "ExporterStatus",
    "ListenAddress",
    "ListenError",
    "WebConfigFile",
    "WebServer",
    "create_app",
    "parse_listen_address",
]
