"""What can go wrong between the exporter and a Dify server. Each leaf has one ``reason``, the metrics' label.

DifyError
├── Unreachable
│   ├── TimedOut          timeout        no complete answer within the deadline
│   ├── ConnectFailed     connect        refused, no route, no such host, connection cut
│   └── TLSFailed         tls            certificate expired, of another name, of an unknown authority
├── Refused
│   ├── Unauthorized      unauthorized   401: the key is missing or wrong
│   ├── Forbidden         forbidden      403: API access is off for the dataset, or not allowed
│   └── RateLimited       rate_limited   429, or the 403 that only its message tells from the others
├── NotFound              not_found      404; ``gone``: said by Dify itself of this very thing
├── ServerFailed          server         5xx, redirects, and every other status
│   └── BadRequest        server         400 that Dify itself gives, after it accepted the key
└── BadAnswer
    ├── DecodeFailed      decode         not JSON: HTML, cut, empty
    ├── SchemaMismatch    schema         JSON of another shape
    └── TooLarge          too_large      more than the client is willing to hold

``Stopped`` stands apart: nothing went wrong, the program ends.
"""

from __future__ import annotations

from typing import ClassVar


class DifyError(Exception):
    """A request failed. The message is for a person, names the remedy and holds no secret.

    ``status``: of the answer, None without one. ``retry_after``: seconds that the server asked to wait.
    ``accepted``: what the failure says of the credentials (None: nothing).
    """

    reason: ClassVar[str]
    accepted: ClassVar[bool | None] = False

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Unreachable(DifyError):
    """No answer."""


class TimedOut(Unreachable):
    """No complete answer within the deadline."""

    reason = "timeout"


class ConnectFailed(Unreachable):
    """No connection, or it was cut."""

    reason = "connect"


class TLSFailed(Unreachable):
    """The server's certificate was not accepted, or no common protocol was found."""

    reason = "tls"


class Refused(DifyError):
    """The server answered that it will not."""


class Unauthorized(Refused):
    """401."""

    reason = "unauthorized"


class Forbidden(Refused):
    """403 about one dataset; the key itself is good."""

    reason = "forbidden"
    accepted = True


class RateLimited(Refused):
    """429, or Cloud's 403 with a message about the rate limit."""

    reason = "rate_limited"
    accepted = None


class NotFound(DifyError):
    """404. ``gone`` when Dify itself says so of the thing asked for; else a proxy, a wrong URL or a missing route.

    ``status`` is 405 where an old Dify has the route, but not for GET.
    """

    reason = "not_found"
    accepted = None

    def __init__(self, message: str, *, gone: bool = False, status: int = 404) -> None:
        super().__init__(message, status=status)
        self.gone = gone


class ServerFailed(DifyError):
    """5xx, a redirect, or a status that the API does not have."""

    reason = "server"


class BadRequest(ServerFailed):
    """400 with one of Dify's codes (``invalid_param``, ``provider_not_initialize``), after it accepted the key."""

    accepted = True


class BadAnswer(DifyError):
    """An answer that is not what the API promises."""


class DecodeFailed(BadAnswer):
    """Not JSON."""

    reason = "decode"


class SchemaMismatch(BadAnswer):
    """JSON of another shape."""

    reason = "schema"


class TooLarge(BadAnswer):
    """Larger than the cap."""

    reason = "too_large"


class Stopped(Exception):
    """The program is ending; the request was not sent."""
