"""The client for one Dify server: endpoints, decoding, rate limit and metrics of requests."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from exporter.dify.answers import (
    DatasetAnswer,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    IndexingStatus,
    SegmentPage,
)
from exporter.dify.api import PAGE, Answer
from exporter.dify.budget import Budget
from exporter.dify.credentials import Credentials
from exporter.dify.errors import DifyError, StaleConnection, Stopped
from exporter.dify.lenient import decode_leniently
from exporter.dify.transport.failures import UNDECODABLE, undecodable
from exporter.dify.transport.masking import mask, mask_body
from exporter.dify.transport.messages import Reply, Request
from exporter.dify.transport.refusals import refused
from exporter.dify.transport.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import ServerConfig

T = TypeVar("T")

_OK = 200
_DIGEST_SIZE = 16
_VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)


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

    def unknown_value(self, server: str, field: str) -> None:
        """Count an odd value that was ignored, by the name of its field."""
        ...


class Client:
    """The client for one server, a ``DifyApi``. Thread-safe; each thread has one connection.

    Every method sends one GET, within ``server.requests_per_second`` and ``server.timeout`` (seconds). A failure raises
    a ``DifyError``. Once ``stop`` is set, methods raise ``Stopped`` and send nothing. ``version`` is the last
    ``X-Version`` received, "" before the first. ``exchange`` replaces the network.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        clock: Clock,
        user_agent: str,
        stop: threading.Event | None = None,
        exchange: Callable[[Request], Reply] | None = None,
        budget: Budget | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """``budget``, ``credentials``: those of the client that this one replaces."""
        self.version = ""
        self.stop = stop or threading.Event()
        self._server = server.name
        self._observer = observer
        self._clock = clock
        self._budget = budget or Budget(server.requests_per_second, clock)
        self._credentials = credentials or Credentials(server, clock)
        self._session = Session(server, user_agent)
        self._exchange = exchange or self._session.exchange

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The documents of a batch."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(batch)}/indexing-status"
        answer = self._get_unless_known("indexing_status", path, IndexingStatus, known)
        return Answer(None if answer.value is None else answer.value.data, answer.digest)

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document, without its custom metadata."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(document_id)}?metadata=without"
        return self._get_unless_known("document", path, DocumentDetail, known)

    def datasets(self, page: int, *, private: bool = True) -> DatasetPage:
        """A page of 100 knowledge bases. Expensive, and fails with 400 or 500 while the plugin daemon is down.

        ``private``: with those that are visible to their creator or to some members only.
        """
        query = f"page={page}&limit={PAGE}" + ("&include_all=true" if private else "")
        return self._get("datasets", f"datasets?{query}", DatasetPage)

    def dataset(self, dataset_id: str) -> DatasetAnswer:
        """A knowledge base. As expensive as the list, and fails in the same cases. Requires Dify 1.2."""
        return self._get("dataset", f"datasets/{_quote(dataset_id)}", DatasetAnswer)

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the documents with a display status, "" for all. Versions before 1.10.1 ignore the status."""
        query = f"page={page}&limit={limit}" + (f"&status={_quote(status)}" if status else "")
        return self._get("documents", f"datasets/{_quote(dataset_id)}/documents?{query}", DocumentPage)

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """The completed segments of a document, as their ``total``."""
        path = f"datasets/{_quote(dataset_id)}/documents/{_quote(document_id)}/segments?status=completed&limit=1"
        return self._get("segments", path, SegmentPage)

    def close_connections(self) -> None:
        """Close the idle connections of all threads at the end of a burst. Requests in flight are not affected."""
        self._session.close_connections()

    def _get(self, endpoint: str, path: str, shape: type[T]) -> T:
        """Send a request with the API key, and decode the answer as ``shape``."""
        request = Request(endpoint, path, self._credentials.key())
        return self._decode(request, self._send(request), shape)

    def _get_unless_known(self, endpoint: str, path: str, shape: type[T], known: bytes | None) -> Answer[T]:
        """The same, but an answer whose digest is ``known`` is not decoded."""
        request = Request(endpoint, path, self._credentials.key())
        reply = self._send(request)
        digest = hashlib.blake2b(reply.body, digest_size=_DIGEST_SIZE).digest()
        return Answer(None if digest == known else self._decode(request, reply, shape), digest)

    def _decode(self, request: Request, reply: Reply, shape: type[T]) -> T:
        """Decode an answer, without the API key. Odd values are ignored and counted as far as possible."""
        try:
            return decode_leniently(msgspec.json.decode, mask_body(reply.body, request.key), shape, self._ignored)
        except UNDECODABLE as error:
            failure = undecodable(request, reply, error)
        # Raised outside the handler, so that the error does not reference the decoder's.
        try:
            raise failure
        finally:
            # A frame that references its own exception is a cycle: it would stay in memory until garbage collection.
            del failure

    def _ignored(self, field: str) -> None:
        self._observer.unknown_value(self._server, field)

    def _send(self, request: Request) -> Reply:
        """Send a request, and repeat it once if the server had just closed the connection. Always returns a 200."""
        reply = None
        with suppress(StaleConnection):
            reply = self._send_once(request, repeatable=True)
        reply = reply or self._send_once(request)
        if _VERSION.fullmatch(mask(reply.version, request.key)):
            self.version = reply.version
        if reply.status != _OK:
            raise refused(request, reply, self._clock.time())
        return reply

    def _send_once(self, request: Request, *, repeatable: bool = False) -> Reply:
        """The reply, whatever its status. A StaleConnection is not counted if the request is ``repeatable``."""
        self._wait_for_budget()
        started = self._clock.monotonic()
        try:
            reply = self._exchange(request)
        except DifyError as error:
            if not (repeatable and isinstance(error, StaleConnection)):
                self._record(request, error.status or error.reason, started)
            raise
        self._record(request, reply.status, started)
        return reply

    def _record(self, request: Request, code: int | str, started: float) -> None:
        self._observer.requested(self._server, request.endpoint, str(code), self._clock.monotonic() - started)

    def _wait_for_budget(self) -> None:
        seconds = self._budget.reserve()
        if seconds > 0:
            started = self._clock.monotonic()
            self._clock.wait(self.stop, seconds)
            self._observer.throttled(self._server, self._clock.monotonic() - started)
        if self.stop.is_set():
            raise Stopped


def _quote(segment: str) -> str:
    return quote(segment, safe="")
