"""The HTTP client for one Dify server: endpoints, decoding, rate limit and metrics of requests."""

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

from exporter.dify.answers import (
    DatasetAnswer,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    IndexingStatus,
    SegmentPage,
    Welcome,
)
from exporter.dify.budget import Budget
from exporter.dify.credentials import Credentials
from exporter.dify.errors import BadAnswer, DifyError, Stopped, TLSFailed, Unreachable
from exporter.dify.transport.body import read_body
from exporter.dify.transport.connection import Deadline, StaleConnection
from exporter.dify.transport.refusals import Reply, refused, undecodable
from exporter.dify.transport.session import Session, TlsContextCache, environment
from exporter.dify.transport.unreachable import FAILURES, unreachable

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.config.model import Secret, ServerConfig

T = TypeVar("T")

PAGE = 100
"""Items per page. For a larger ``limit``, the server caps the page but computes ``has_more`` from the given limit."""

_OK = 200
_DIGEST_SIZE = 16
_LARGEST_REFUSAL = 64 * 1024
_VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)

_indexing_status = msgspec.json.Decoder(IndexingStatus)
_document = msgspec.json.Decoder(DocumentDetail)
_datasets = msgspec.json.Decoder(DatasetPage)
_dataset = msgspec.json.Decoder(DatasetAnswer)
_documents = msgspec.json.Decoder(DocumentPage)
_segments = msgspec.json.Decoder(SegmentPage)
_welcome = msgspec.json.Decoder(Welcome)


class RequestObserver(Protocol):
    """Counts requests for the exporter's own metrics. Called in the worker's thread; must not raise."""

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Record a finished request. ``code``: the HTTP status as text, or the error's reason if there is none.

        A request that was repeated on a new connection counts once.
        """
        ...

    def throttled(self, server: str, seconds: float) -> None:
        """Record the time for which the rate limit delayed a request."""
        ...


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """An answer. ``value`` is None if the digest of the body equals ``known``: the body is byte-identical."""

    value: T | None
    digest: bytes


class _Channel(threading.local):
    """Per-thread state of a client."""

    session: Session | None = None
    template: requests.PreparedRequest


class Client:
    """Client for one server. Thread-safe; each thread has one connection.

    Every method sends one GET, within ``server.requests_per_second`` and ``server.timeout`` (seconds). A failure raises
    a ``DifyError``. Once ``stop`` is set, methods raise ``Stopped`` and send nothing. ``version`` is the last
    ``X-Version`` received, "" before the first.
    """

    def __init__(
        self,
        server: ServerConfig,
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
        self._trust = TlsContextCache(self._environment.authorities)
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
        """A page of 100 knowledge bases. Expensive, and fails with 400 or 500 while the plugin daemon is down."""
        return self._fetch("datasets", f"datasets?page={page}&limit={PAGE}", _datasets)

    def dataset(self, dataset_id: str) -> DatasetAnswer:
        """A knowledge base. As expensive as the list, and fails in the same cases. Requires Dify 1.2."""
        return self._fetch("dataset", f"datasets/{_quote(dataset_id)}", _dataset)

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the documents with a display status, "" for all. Versions before 1.10.1 ignore the status."""
        query = f"page={page}&limit={limit}" + (f"&status={_quote(status)}" if status else "")
        return self._fetch("documents", f"datasets/{_quote(dataset_id)}/documents?{query}", _documents)

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """The completed segments of a document, as their ``total``."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(document_id)}/segments?status=completed&limit=1"
        return self._fetch("segments", path, _segments)

    def welcome(self) -> str:
        """The version of the server. The request has no API key."""
        reply = self._send("welcome", "", None)
        return self._decode("welcome", reply, _welcome, None).server_version

    def close_connections(self) -> None:
        """Close the idle connections of all threads at the end of a burst. Requests in flight are not affected."""
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
            # A frame that references its own exception is a cycle: the answer would stay in memory until the next
            # garbage collection.
            del failure

    def _send(self, endpoint: str, path: str, key: Secret | None) -> Reply:
        """Send a request, and repeat it once if the server had just closed the connection. Always returns a 200."""
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
        # Raised outside the handlers: the error must not reference the library's exception, which holds the API key.
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
            # Returns the connection to the pool if the body was read completely, closes it otherwise.
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
        # The status is sufficient; a body that cannot be read must not hide it.
        return b""


def _quote(segment: str) -> str:
    return quote(segment, safe="")


def _where(url: str) -> str:
    """Host and port, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
