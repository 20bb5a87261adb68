"""The HTTP side: endpoints and server."""

from exporter.web.app import ExporterStatus, create_app
from exporter.web.connections import ClientTimeouts, ListenError
from exporter.web.server import WebServer
from exporter.web.web_config import WebConfigFile
