"""Errors for status codes, their bodies and Retry-After."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.config import Secret
from exporter.dify import (
    BadRequest,
    DifyError,
    Forbidden,
    Intercepted,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from exporter.dify.transport.failures import excerpt
from exporter.dify.transport.messages import Reply, Request, Route
from exporter.dify.transport.refusals import refused, retry_after
from tests.dify.conftest import BATCH, DATASET, KEY, MakeClient, RecordingObserver, Upstream, always, http_answer, once

LIMIT = "Sorry, you have reached the knowledge base request rate limit of your subscription."
HTML = "<!DOCTYPE html><html><body>Bad gateway</body></html>"
NOW = ManualClock().time()


def refusal(code: str, message: str, status: int) -> dict[str, object]:
    """The body of a Dify error."""
    return {"code": code, "message": message, "status": status}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (400, refusal("invalid_param", "plugin daemon", 400), BadRequest, "server"),
        (400, {"code": "invalid_param", "message": {"name": ["odd"]}}, BadRequest, "server"),
        (400, HTML, ServerFailed, "server"),
        (401, refusal("unauthorized", "Access token is invalid", 401), Unauthorized, "unauthorized"),
        (401, HTML, Unauthorized, "unauthorized"),
        (403, refusal("forbidden", "No permission.", 403), Forbidden, "forbidden"),
        (403, refusal("forbidden", LIMIT, 403), RateLimited, "rate_limited"),
        (404, refusal("not_found", "Documents not found.", 404), NotFound, "not_found"),
        (405, refusal("method_not_allowed", "…", 405), NotFound, "not_found"),
        (408, "", ServerFailed, "server"),
        (418, "[]", ServerFailed, "server"),
        (429, refusal("too_many_requests", "slow down", 429), RateLimited, "rate_limited"),
        (500, refusal("unknown", "Internal Server Error", 500), ServerFailed, "server"),
        (502, HTML, ServerFailed, "server"),
        (503, b"\xff\xfe", ServerFailed, "server"),
        (520, "[" * 100_000, ServerFailed, "server"),
        (204, "", ServerFailed, "server"),
        (206, {"data": []}, ServerFailed, "server"),
    ],
)
def test_each_status_has_its_error(  # noqa: PLR0917 - the columns of a table
    status: int,
    body: object,
    kind: type[DifyError],
    reason: str,
    upstream: Upstream,
    connect: MakeClient,
    observer: RecordingObserver,
) -> None:
    """Each status other than 200 raises its error, whatever the body; the observer receives the status."""
    headers = {"Content-Length": "0"} if status == 204 else {}
    upstream.play(always(http_answer(status, body, headers)))
    with pytest.raises(DifyError) as caught:
        connect().indexing_status(DATASET, BATCH)
    assert kind is type(caught.value)
    assert (reason, status, True) == (caught.value.reason, caught.value.status, caught.value.by_dify)
    assert f"indexing_status: {status}" in str(caught.value)
    assert [("main", "indexing_status", str(status))] == observer.requests


@pytest.mark.parametrize(
    ("headers", "body", "gone", "said"),
    [
        ({"X-Version": "1.12.1"}, refusal("not_found", "Dataset not found.", 404), True, "Dataset not found."),
        ({}, refusal("not_found", "Document not found.", 404), True, "Document not found."),
        ({"X-Version": "0.9.0"}, HTML, False, r"malformed.*this version of Dify \(0\.9\.0\)"),
        ({}, HTML, False, r"web frontend.*does url end in /v1\?"),
        ({}, {"message": "no Route matched with those values"}, False, "no Route matched.*does url end in /v1"),
    ],
)
def test_a_404_distinguishes_a_missing_object_from_a_wrong_url(
    headers: dict[str, str], body: object, gone: bool, said: str
) -> None:
    """Only Dify's own not_found means that the object does not exist; other 404s name the likely cause."""
    reply = Reply(404, headers, body.encode() if isinstance(body, str) else json.dumps(body).encode())
    error = refused(Request("document", ""), reply, NOW)
    assert isinstance(error, NotFound)
    assert gone == error.gone
    with pytest.raises(NotFound, match=said):
        raise error


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://dify.example.org/v1", "redirect to https://dify.example.org; set url to the final address"),
        ("https://dify.example.org:8443/", "redirect to https://dify.example.org:8443; set url to the final"),
        ("https://sso.example.org/login?back=1", "redirect to https://sso.example.org, to a login page; something in"),
        ("/signin", "to a login page; something in front of Dify asks for a login: exempt the path"),
        ("/apps", "redirect to the path /apps of the same server; does url end in /v1?"),
        ("https://127.0.0.1/v1/datasets", "redirect to https://127.0.0.1; set url to https://127.0.0.1/v1"),
        ("http://[broken", "redirect to an invalid address"),
        ("", "of the same server; does url end in /v1?"),
        (f"https://{KEY.lower()}.example.org/", "redirect to an address that contains the API key"),
        (f"https://user:{KEY}@there/", "redirect to an address that contains the API key"),
        (f"https://there/%64{KEY[1:]}", "redirect to an address that contains the API key"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    status: int, location: str, said: str, upstream: Upstream, connect: MakeClient
) -> None:
    """The key must not be sent to the target of a redirect; the error names scheme, host, port and remedy."""
    upstream.play(always(http_answer(status, b"", {"Location": location})))
    with pytest.raises(ServerFailed) as caught:
        connect().indexing_status(DATASET, BATCH)
    assert said in str(caught.value)
    assert KEY.lower() not in str(caught.value).lower()
    assert 1 == len(upstream.requests)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("86400", 3600.0),
        ("9" * 5000, 3600.0),
        ("Sat, 21 Nov 2026 17:35:10 GMT", 40.0),
        ("Sat, 21 Nov 2026 17:35:10 -0000", 40.0),
        ("Sat, 21 Nov 2026 17:00:00 GMT", 0.0),
        ("Sat, 21 Nov 9999 17:00:00 GMT", 3600.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    """An invalid value counts as absent, a past date as 0, and the maximum is one hour."""
    assert seconds == retry_after(value, NOW)


@given(st.text())
def test_no_retry_after_breaks_the_client(value: str) -> None:
    """For any header value, the result is None or at most one hour."""
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_retry_after_reaches_the_caller(status: int, upstream: Upstream, connect: MakeClient) -> None:
    """The error has the seconds of Retry-After for each status that may include it."""
    upstream.play(always(http_answer(status, {}, {"Retry-After": "17"})))
    with pytest.raises(DifyError) as caught:
        connect().indexing_status(DATASET, BATCH)
    assert caught.value.retry_after == 17.0


@given(st.text(max_size=3000), st.text(max_size=300))
def test_an_excerpt_is_one_short_printable_line_without_the_key(before: str, after: str) -> None:
    """Any server text becomes one short printable line that does not contain the key."""
    said = excerpt(before + KEY + after, Secret(KEY))
    assert len(said) <= 200
    assert said.isprintable()
    assert KEY not in said


def test_server_texts_in_messages_never_contain_the_key(upstream: Upstream, connect: MakeClient) -> None:
    """The key does not leak through an error that quotes the request, or a version that contains the key."""
    body = {"code": KEY, "message": f"x{'y' * 190}{KEY}: header\nAuthorization: Bearer {KEY}"}
    for status in (400, 403, 404, 405, 429, 500):
        upstream.play(always(http_answer(status, body, {"X-Version": KEY, "Connection": "close"})))
        with pytest.raises(DifyError) as caught:
            connect().indexing_status(DATASET, BATCH)
        assert "K3y" not in str(caught.value)
        assert "yyy" in str(caught.value)


def test_an_error_page_of_any_size_keeps_its_status(upstream: Upstream, connect: MakeClient) -> None:
    """A huge, invalid or truncated body of an error is ignored; the error has the status."""
    client = connect()
    for answer in (
        http_answer(502, b"<" * 10_000_000),
        http_answer(502, b"no gzip", {"Content-Encoding": "gzip"}),
        http_answer(502, b"cut", {"Content-Length": "100", "Connection": "close"}),
    ):
        upstream.play(once(answer))
        with pytest.raises(ServerFailed) as caught:
            client.indexing_status(DATASET, BATCH)
        assert caught.value.status == 502
        client.close_connections()


NGINX = "<html><head><title>401 Authorization Required</title></head><body><center>nginx</center></body></html>"
GATEWAY = {"error": "access denied by policy"}
BASIC = {"Server": "nginx/1.24.0", "WWW-Authenticate": 'Basic realm="staging"'}


@pytest.mark.parametrize("body", [NGINX, GATEWAY, "", b"\xff", {"code": "denied"}, {"code": 7, "status": 403}])
@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refusal_of_something_in_between_says_nothing_about_the_key(status: int, body: object) -> None:
    """Without the version header or the form of Dify's errors, the key and its permissions are not in question."""
    error = refused(Request("documents", ""), intercepted(status, body, {}), NOW)
    assert (Intercepted, "server", False) == (type(error), error.reason, error.by_dify)
    assert "something in front of Dify answered, not Dify" in str(error)
    assert "API key" not in str(error)
    assert "API access" not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, refusal("unauthorized", "Access token is invalid", 401), Unauthorized),
        (403, refusal("forbidden", "No permission.", 403), Forbidden),
        (403, refusal("forbidden", LIMIT, 403), RateLimited),
    ],
)
def test_the_form_of_an_error_is_enough_to_recognize_dify(status: int, body: object, kind: type[DifyError]) -> None:
    """A gateway may remove the version header: code, message and status are Dify's own form."""
    error = refused(Request("documents", ""), intercepted(status, body, {}), NOW)
    assert (kind, True) == (type(error), error.by_dify)


@pytest.mark.parametrize(
    ("status", "headers", "route", "said"),
    [
        (
            401,
            BASIC,
            "",
            r"in front of Dify \(nginx/1\.24\.0\) answered.*a login of its own \(Basic\); exempt",
        ),
        (
            403,
            {"Server": "cloudflare"},
            "",
            r"in front of Dify \(cloudflare\).*firewall.*let requests of this",
        ),
        (403, {}, "squid:3128", r"the proxy squid:3128 of the environment.*if dify can be reached without.*NO_PROXY"),
        (407, {}, "squid:3128", r"the proxy squid:3128 of the environment.*user and password"),
        (503, {}, "squid:3128", r"the proxy squid:3128 of the environment, or something behind it, answered, not Dify"),
        (
            502,
            {"Server": "nginx"},
            "",
            r"in front of Dify \(nginx\) answered, not Dify: is Dify's API running",
        ),
        (429, {"Server": "nginx"}, "", r"in front of Dify \(nginx\) limits the requests: lower requests_per_second"),
    ],
)
def test_whoever_answered_is_named(status: int, headers: dict[str, str], route: str, said: str) -> None:
    """Proxies of the environment are named by host and port, everything else by its Server header."""
    error = refused(Request("documents", ""), intercepted(status, NGINX, headers, route), NOW)
    assert re.search(said, str(error)), str(error)


@pytest.mark.parametrize(
    "body",
    [
        "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        "Client sent an HTTP request to an HTTPS server.\n",
    ],
)
def test_a_port_that_expects_tls_is_named(body: str) -> None:
    """Nginx and programs in Go answer plain HTTP on a TLS port with 400; the remedy is the other scheme."""
    error = refused(Request("documents", ""), intercepted(400, body, {}), NOW)
    assert str(error).endswith("400: the port expects https; set url to https://dify:8443/v1")


def intercepted(status: int, body: object, headers: dict[str, str], proxy: str = "") -> Reply:
    """A reply that is not Dify's."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Reply(status, headers, content, Route("http://dify:8443/v1", proxy))
