"""The client for Dify's knowledge API."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import requests

from exporter.dify.body import read_body
from exporter.dify.budget import Budget
from exporter.dify.connection import Deadline, StaleConnection
from exporter.dify.credentials import Credentials
from exporter.dify.errors import BadAnswer, DifyError, Stopped, TLSFailed, Unreachable
from exporter.dify.refusal import Reply, refused, undecodable
from exporter.dify.session import Session, Trust, environment
from exporter.dify.unreachable import FAILURES, unreachable
from exporter.dify.wire import (
    Dataset,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    IndexingStatus,
    SegmentPage,
    Welcome,
)

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.config.model import Secret, Server

T = TypeVar("T")

PAGE = 100
"""Items a page: above it the server caps the page and computes ``has_more`` from what was asked."""

_OK = 200
_DIGEST_SIZE = 16
_LARGEST_REFUSAL = 64 * 1024
_VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)

_indexing_status = msgspec.json.Decoder(IndexingStatus)
_document = msgspec.json.Decoder(DocumentDetail)
_datasets = msgspec.json.Decoder(DatasetPage)
_dataset = msgspec.json.Decoder(Dataset)
_documents = msgspec.json.Decoder(DocumentPage)
_segments = msgspec.json.Decoder(SegmentPage)
_welcome = msgspec.json.Decoder(Welcome)


class RequestObserver(Protocol):
    """Who counts requests: the exporter's own metrics. Called in the worker's thread; must not raise."""

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """A request has ended. ``code``: the HTTP status as text; without a complete answer the error's reason.

        A request that was repeated on a new connection counts once.
        """
        ...

    def throttled(self, server: str, seconds: float) -> None:
        """A request had to wait for the budget."""
        ...


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """An answer. ``value`` is None when the body is byte for byte the one that ``known`` is the digest of."""

    value: T | None
    digest: bytes


class _Channel(threading.local):
    """What each worker thread has for itself."""

    session: Session | None = None
    template: requests.PreparedRequest


class Client:
    """One server. Thread-safe; each thread has one connection.

    Every method sends one GET, within ``server.requests_per_second`` and ``server.timeout`` (seconds), and raises a
    ``DifyError``; or ``Stopped``, without sending anything, once ``stop`` is set. ``version`` is the last ``X-Version``
    seen, "" before.
    """

    def __init__(
        self,
        server: Server,
        *,
        observer: RequestObserver,
        clock: Clock,
        user_agent: str,
        stop: threading.Event | None = None,
    ) -> None:
        self.version = ""
        self.stop = stop or threading.Event()
        self._server = server.name
        self._url = server.url.rstrip("/") + "/"
        self._where = _where(self._url)
        self._timeout = server.timeout
        self._observer = observer
        self._clock = clock
        self._user_agent = user_agent
        self._budget = Budget(server.requests_per_second, clock)
        self._credentials = Credentials(server, clock)
        self._environment = environment(self._url, server.ca_file)
        self._trust = Trust(self._environment.authorities)
        self._channel = _Channel()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The documents of a batch."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(batch)}/indexing-status"
        answer = self._get("indexing_status", path, _indexing_status, known)
        return Answer(None if answer.value is None else answer.value.data, answer.digest)

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document, without its custom metadata."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(document_id)}?metadata=without"
        return self._get("document", path, _document, known)

    def datasets(self, page: int) -> DatasetPage:
        """A page of 100 knowledge bases. Dear, and refused with 400 or 500 while the plugin daemon is down."""
        return self._fetch("datasets", f"datasets?page={page}&limit={PAGE}", _datasets)

    def dataset(self, dataset_id: str) -> Dataset:
        """A knowledge base. As dear as the list, and refused as it is; servers before 1.2 do not have it."""
        return self._fetch("dataset", f"datasets/{_quote(dataset_id)}", _dataset)

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the documents with a display status; "" for all. Servers before 1.10.1 ignore the status."""
        query = f"page={page}&limit={limit}" + (f"&status={_quote(status)}" if status else "")
        return self._fetch("documents", f"datasets/{_quote(dataset_id)}/documents?{query}", _documents)

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """How many segments of a document are completed."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(document_id)}/segments?status=completed&limit=1"
        return self._fetch("segments", path, _segments)

    def welcome(self) -> str:
        """The version of the server. Sends no key."""
        reply = self._send("welcome", "", None)
        return self._decode("welcome", reply, _welcome, None).server_version

    def close_connections(self) -> None:
        """Close the idle connections of all threads, at the end of a burst. Requests under way are not disturbed."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _fetch(self, endpoint: str, path: str, decoder: msgspec.json.Decoder[T]) -> T:
        key = self._credentials.key()
        return self._decode(endpoint, self._send(endpoint, path, key), decoder, key)

    def _get(self, endpoint: str, path: str, decoder: msgspec.json.Decoder[T], known: bytes | None) -> Answer[T]:
        key = self._credentials.key()
        reply = self._send(endpoint, path, key)
        digest = hashlib.blake2b(reply.body, digest_size=_DIGEST_SIZE).digest()
        if digest == known:
            return Answer(None, digest)
        return Answer(self._decode(endpoint, reply, decoder, key), digest)

    def _decode(self, endpoint: str, reply: Reply, decoder: msgspec.json.Decoder[T], key: Secret | None) -> T:
        try:
            return decoder.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            failure = undecodable(endpoint, reply, error, key)
        try:
            raise failure
        finally:
            # An error that its own frame refers to keeps the answer until the garbage collector comes by.
            del failure

    def _send(self, endpoint: str, path: str, key: Secret | None) -> Reply:
        """Send one request, or a second one when the server had just closed the connection. Always a 200."""
        try:
            reply = self._measured(endpoint, path, key, repeat=True)
        except StaleConnection:
            reply = self._measured(endpoint, path, key, repeat=False)
        version = reply.headers.get("X-Version", "")
        if _VERSION.fullmatch(version):
            self.version = version
        if reply.status != _OK:
            raise refused(endpoint, reply, key, self._clock.time())
        return reply

    def _measured(self, endpoint: str, path: str, key: Secret | None, *, repeat: bool) -> Reply:
        self._wait_for_budget()
        started = self._clock.monotonic()
        failure: DifyError
        try:
            reply = self._exchange(endpoint, path, key)
        except BadAnswer as error:
            failure, code = error, str(error.status)
        except Unreachable as error:
            failure, code = error, error.reason
        except (StaleConnection, *FAILURES) as error:
            if repeat and isinstance(error, StaleConnection):
                raise
            failure = unreachable(self._where, error, self._timeout)
            code = failure.reason
        else:
            self._observer.requested(self._server, endpoint, str(reply.status), self._clock.monotonic() - started)
            return reply
        self._observer.requested(self._server, endpoint, code, self._clock.monotonic() - started)
        if isinstance(failure, TLSFailed):
            self._trust.forget()
        # Raised out here, the error does not carry the library's exception, which holds the request with its key.
        try:
            raise failure
        finally:
            del failure

    def _exchange(self, endpoint: str, path: str, key: Secret | None) -> Reply:
        deadline = Deadline(time.monotonic() + self._timeout)
        options: dict[str, Any] = {"stream": True, "timeout": deadline, "allow_redirects": False}
        session = self._session()
        request = self._channel.template.copy()
        request.url = f"{request.url}{path}"
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
        response = session.send(request, proxies=self._environment.proxies, **options)
        try:
            return Reply(response.status_code, response.headers, _body(response, endpoint))
        finally:
            # Gives the connection back when the body was read to its end, and closes it otherwise.
            response.close()

    def _session(self) -> Session:
        session = self._channel.session
        if session is None:
            headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": self._user_agent}
            self._channel.template = requests.Request("GET", self._url, headers).prepare()
            session = self._channel.session = Session(self._trust.context)
            with self._lock:
                self._sessions.add(session)
        return session

    def _wait_for_budget(self) -> None:
        seconds = self._budget.reserve()
        if seconds > 0:
            started = self._clock.monotonic()
            self._clock.wait(self.stop, seconds)
            self._observer.throttled(self._server, self._clock.monotonic() - started)
        if self.stop.is_set():
            raise Stopped


def _body(response: requests.Response, endpoint: str) -> bytes:
    if response.status_code == _OK:
        return read_body(response, endpoint)
    try:
        return read_body(response, endpoint, _LARGEST_REFUSAL)
    except (BadAnswer, *FAILURES):
        # The status says more than a body that cannot be read.
        return b""


def _quote(segment: str) -> str:
    return quote(segment, safe="")


def _where(url: str) -> str:
    """Host and port, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
