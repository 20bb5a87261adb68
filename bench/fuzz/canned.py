"""Subjects that parse what the upstream sends: the client without a network, at two levels."""

from __future__ import annotations

import io
import math
import re
import socket
from contextlib import redirect_stderr, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import msgspec

from exporter.clock import ManualClock
from exporter.config import Secret, ServerConfig
from exporter.daemon.logs import set_up_logging
from exporter.dify import Client, DecodeFailed, DifyError
from exporter.dify.transport import connection
from exporter.dify.transport.messages import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = ROOT / "tests" / "seeds"
KEY: Final = "dataset-Pl4nt3dC4n4ry"
DATASET: Final = "501756ed-cffa-44bb-b992-713f60113872"
BATCH: Final = "20261121173517669864"
DOCUMENT: Final = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
SERVER: Final = ServerConfig("main", "http://127.0.0.1:5001/v1", api_key=Secret(KEY), requests_per_second=1e9)

LONGEST_ERROR: Final = 1_000
"""Maximum length of a message about a server's answer. Messages about a file with many keys may be longer."""

_CHANGING = re.compile(r"\d+|\".*\"|`[^`]{40,}`")
_ENDPOINTS = ("indexing_status", "document", "datasets", "dataset", "documents", "completed_segments")


class Recording(msgspec.Struct):
    """A recorded answer of a real server: JSON, or the text if it is not JSON."""

    status: int
    headers: dict[str, str]
    json: msgspec.Raw = msgspec.Raw(b"null")
    text: str = ""

    @property
    def body(self) -> bytes:
        """The body as it was sent."""
        return self.text.encode() if self.json == b"null" else bytes(self.json)


def recordings() -> dict[str, Recording]:
    """All recordings by name."""
    decoder = msgspec.json.Decoder(Recording)
    return {
        path.stem: decoder.decode(path.read_bytes()) for path in sorted((ROOT / "tests" / "recordings").glob("*.json"))
    }


def seeds(name: str) -> list[bytes]:
    """The inputs stored for a subject."""
    return [path.read_bytes() for path in sorted((SEEDS / name).glob("*"))]


def outcome(failure: Exception) -> str:
    """A short form of a failure. AssertionError when it shows the key or is not fit to display."""
    text = str(failure)
    check(KEY not in repr(failure), "the key is shown")
    check(len(text) <= LONGEST_ERROR or not isinstance(failure, DifyError), "the message is too long")
    check(text.replace("\n", "").isprintable(), "the message has unprintable characters")
    return f"{type(failure).__name__}: {_CHANGING.sub('_', text)}"


def check(holds: bool, what: str) -> None:  # noqa: FBT001 an assertion
    """Raise AssertionError unless ``holds``; unlike ``assert``, it also works with python -O."""
    if not holds:
        raise AssertionError(what)


class Silent:
    """Counts nothing."""

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Ignore it."""

    def throttled(self, server: str, seconds: float) -> None:
        """Ignore it."""

    def unknown_value(self, server: str, field: str) -> None:
        """Ignore it."""


class CannedClient(Client):
    """A client that answers requests from a table, where "*" stands for all endpoints without an entry.

    ``remaining``: how many requests are answered. A list that claims to be endless is read for a few hundred pages.
    """

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__(SERVER, observer=Silent(), clock=ManualClock(), user_agent="fuzz", exchange=self._answer)
        self.answers = answers
        self.remaining = math.inf

    def _answer(self, request: Request) -> Reply:
        self.remaining -= 1
        if self.remaining < 0:
            raise DecodeFailed("no more answers")
        return Reply(200, {"X-Version": "1.12.1"}, self.answers.get(request.endpoint) or self.answers["*"])


def ask(client: Client, method: str) -> object:
    """Call a method of the client with suitable arguments."""
    ways: dict[str, Callable[[], object]] = {
        "indexing_status": lambda: client.indexing_status(DATASET, BATCH),
        "document": lambda: client.document(DATASET, DOCUMENT),
        "datasets": lambda: client.datasets(1),
        "dataset": lambda: client.dataset(DATASET),
        "documents": lambda: client.documents(DATASET, "indexing"),
        "completed_segments": lambda: client.completed_segments(DATASET, DOCUMENT),
    }
    return ways[method]()


class Body:
    """Decodes an input as the body of an answer, for each endpoint in turn."""

    separator = b""

    def __init__(self) -> None:
        self.seeds = [*seeds("body"), *(recording.body for recording in recordings().values())]
        self.words = (KEY.encode(), b"null", b"1e400", b"NaN", b"\xef\xbb\xbf", *field_names())
        self._client = CannedClient({})
        self._endpoints = cycle(_ENDPOINTS)

    def take(self, data: bytes) -> str:
        """Decode the input."""
        self._client.answers = {"*": data}
        endpoint = next(self._endpoints)
        try:
            ask(self._client, endpoint)
        except DifyError as failure:
            return outcome(failure)
        return endpoint

    def close(self) -> None:
        """Nothing to close."""


class Answer:
    """Passes an input to the client as the complete answer of a server, from the status line on."""

    separator = b"\r\n\r\n"

    def __init__(self) -> None:
        recorded = list(recordings().values())
        self.seeds = [*seeds("answer"), *(_spelled(each) for each in recorded if len(each.body) < 4_096)]
        self.words = (
            *(
                b"HTTP/1.1 ",
                b"HTTP/1.0 ",
                b"200 OK",
                b"204 ",
                b"100 Continue\r\n\r\n",
                b"304 ",
                b"401 ",
                b"403 ",
                b"404 ",
            ),
            *(b"429 ", b"301 ", b"502 ", b"999 ", b"-1 ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"),
            *(b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate, br\r\n", b"Connection: close\r\n", b"\r\n"),
            *(b"Location: ", b"http://[::1", b"https://\xff/", b"Retry-After: ", b"1e9", b"Thu, 01 Jan 1970 00:00:00"),
            *(b"Set-Cookie: x-token=", b"X-Version: ", b"99999999999999999999", b"0x10", b"ffffffff\r\n", b"0\r\n\r\n"),
            *(KEY.encode(), b"rate limit", b"\xc2\xb2", b"not_found"),
        )
        self._client = Client(SERVER, observer=Silent(), clock=ManualClock(), user_agent="fuzz")
        self._log = io.StringIO()
        with redirect_stderr(self._log):
            set_up_logging("debug", "logfmt")
        self._patch = mock.patch.object(connection, "_connect", self._connect)
        self._patch.start()
        self._peers: list[socket.socket] = []
        self._data = b""
        self._endpoints = cycle(_ENDPOINTS)

    def take(self, data: bytes) -> str:
        """Send a request and read the input as its answer."""
        self._data = data
        endpoint = next(self._endpoints)
        try:
            result = type(ask(self._client, endpoint)).__name__
        except DifyError as failure:
            result = outcome(failure)
        finally:
            self._client.close_connections()
            for peer in self._peers:
                peer.close()
            self._peers.clear()
        log = self._log.getvalue()
        check(not log, f"the client logs what a server sends: {log[:300]}")
        return result

    def close(self) -> None:
        """Restore the client."""
        self._patch.stop()

    def _connect(self, _host: str, _port: int, end: float, _options: Any) -> socket.socket:  # noqa: ARG002
        ours, theirs = socket.socketpair()
        theirs.sendall(self._data)
        with suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)
        self._peers.append(theirs)
        ours.settimeout(5.0)
        return ours


def _spelled(recording: Recording) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in recording.headers.items())
    return f"HTTP/1.1 {recording.status} Whatever\r\n{head}\r\n".encode() + recording.body


def field_names() -> tuple[bytes, ...]:
    """The field names in the recordings."""
    found: set[str] = set()
    for recording in recordings().values():
        found.update(re.findall(r'"([a-z_]+)":', recording.body.decode()))
    return tuple(sorted(b'"' + name.encode() + b'":' for name in found))
