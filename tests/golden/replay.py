"""A server that replays recorded answers of a real Dify unchanged."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDINGS = Path(__file__).parents[1] / "recordings"

_OF_THE_CONNECTION = {"date", "connection", "content-length", "transfer-encoding"}


class Recording(NamedTuple):
    """A recorded answer. ``path`` has no query."""

    case: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes
    content: Any


def load(case: str) -> Recording:
    """Load the recording with that name."""
    recorded = json.loads((RECORDINGS / f"{case}.json").read_text(encoding="utf-8"))
    content = recorded.get("json")
    body = json.dumps(content) if content is not None else recorded["text"]
    headers = {name: value for name, value in recorded["headers"].items() if name not in _OF_THE_CONNECTION}
    return Recording(case, recorded["path"].partition("?")[0], recorded["status"], headers, body.encode(), content)


class ReplayServer(ThreadingHTTPServer):
    """Serves the recording for a path, ignoring the query; ``otherwise`` for all other paths."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Recording], otherwise: Recording) -> None:
        """A context manager that serves on a free loopback port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.otherwise = otherwise
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="replay", daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("ReplayServer", self.server)
        answer = server.answers.get(self.path.partition("?")[0], server.otherwise)
        self.send_response(HTTPStatus(answer.status))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the tests check the answers."""
