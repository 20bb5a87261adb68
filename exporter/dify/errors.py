"""Errors of requests to a Dify server. Each leaf has one ``reason``, the label value in metrics.

DifyError
├── Unreachable
│   ├── TimedOut          timeout        no complete answer within the deadline
│   ├── ConnectFailed     connect        refused, no route, unknown host, connection closed
│   │   └── StaleConnection     a reused connection was closed before the answer: safe to repeat
│   └── TLSFailed         tls            certificate expired, for another name, or of an unknown authority
├── Unauthorized          unauthorized   401 from Dify itself: the key is missing or wrong
├── Forbidden             forbidden      403 from Dify itself: API access is disabled for the dataset, or not permitted
├── RateLimited           rate_limited   429, or a 403 whose message mentions the rate limit
├── NotFound              not_found      404; ``gone``: Dify itself reports that the object does not exist
├── ServerFailed          server         5xx, redirects, and every other status
│   ├── BadRequest        server         400 from Dify itself, after it accepted the key
│   └── Intercepted       server         401, 403 or 407 from a proxy, a firewall or a gateway in front of Dify
└── BadAnswer
    ├── DecodeFailed      decode         not JSON: HTML, truncated, empty
    ├── SchemaMismatch    schema         JSON with an unexpected structure
    └── TooLarge          too_large      larger than the client accepts

``Stopped`` is not part of the tree: nothing failed, the program is shutting down.
"""

from __future__ import annotations

from typing import ClassVar


class DifyError(Exception):
    """A request failed. The message is for people, names the remedy and contains no secret.

    ``status``: HTTP status of the answer, None without an answer. ``retry_after``: seconds that the server asked the
    client to wait. ``by_dify``: Dify's API itself answered, not a proxy, a gateway or the web frontend.
    """

    reason: ClassVar[str]

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None, by_dify: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.by_dify = by_dify


class Unreachable(DifyError):
    """No complete answer was received."""


class TimedOut(Unreachable):
    """No complete answer within the deadline."""

    reason = "timeout"


class ConnectFailed(Unreachable):
    """The connection could not be opened, or was closed before the answer was complete."""

    reason = "connect"


class StaleConnection(ConnectFailed):
    """A reused connection was closed before a byte of the answer. The client repeats the request on a new one."""


class TLSFailed(Unreachable):
    """The server's certificate was rejected, or TLS could not be negotiated."""

    reason = "tls"


class Unauthorized(DifyError):
    """401 from Dify itself."""

    reason = "unauthorized"


class Forbidden(DifyError):
    """403 for one dataset; the key itself is valid."""

    reason = "forbidden"


class RateLimited(DifyError):
    """429, or the 403 of Dify Cloud with a message about the rate limit."""

    reason = "rate_limited"


class NotFound(DifyError):
    """404. ``gone``: Dify itself reports a missing object; otherwise a proxy, a wrong URL or a missing route.

    ``status`` is 405 if an old version of Dify has the route, but not for GET.
    """

    reason = "not_found"

    def __init__(self, message: str, *, gone: bool = False, status: int = 404, by_dify: bool = False) -> None:
        super().__init__(message, status=status, by_dify=by_dify)
        self.gone = gone


class ServerFailed(DifyError):
    """5xx, a redirect, or a status that the API does not use."""

    reason = "server"


class BadRequest(ServerFailed):
    """400 with one of Dify's codes (``invalid_param``, ``provider_not_initialize``), after it accepted the key."""


class Intercepted(ServerFailed):
    """401, 403 or 407 of something between the exporter and Dify: it says nothing about the API key."""


class BadAnswer(DifyError):
    """An answer that does not conform to the API."""


class DecodeFailed(BadAnswer):
    """Not JSON."""

    reason = "decode"


class SchemaMismatch(BadAnswer):
    """JSON with an unexpected structure."""

    reason = "schema"


class TooLarge(BadAnswer):
    """Larger than the limit."""

    reason = "too_large"


class Stopped(Exception):
    """The program is shutting down; the request was not sent."""
