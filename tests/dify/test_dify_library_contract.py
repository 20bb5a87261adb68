"""What exporter.dify relies on below the public face of requests and urllib3, for which pyproject.toml bounds versions.

Each test names the code that relies on it; a failure after an upgrade says what to adapt there.
"""

from __future__ import annotations

import inspect
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import create_urllib3_context

from exporter.dify.transport.connection import POOLS, ClosedWithoutAnswer, Deadline, _Connection, _TLSConnection
from exporter.dify.transport.session import _Adapter
from tests.dify.conftest import Upstream, always, http_answer, once

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b'{"data": []}'


def send(adapter: HTTPAdapter, url: str, **options: Any) -> requests.Response:
    """Send a GET as ``Session._exchange`` does, with a deadline in five seconds."""
    template = requests.Request("GET", url, {"Accept": "application/json"}).prepare()
    deadline = Deadline(time.monotonic() + 5)
    return adapter.send(template.copy(), stream=True, timeout=deadline, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        ("init_poolmanager", ["self", "connections", "maxsize", "block", "pool_kwargs"]),
        ("proxy_manager_for", ["self", "proxy", "proxy_kwargs"]),
        ("get_connection_with_tls_context", ["self", "request", "verify", "proxies", "cert"]),
        ("build_connection_pool_key_attributes", ["self", "request", "verify", "cert"]),
        ("request_url", ["self", "request", "proxies"]),
        ("cert_verify", ["self", "conn", "url", "verify", "cert"]),
        ("build_response", ["self", "req", "resp"]),
    ],
)
def test_adapter_hooks_have_the_signatures_that_the_adapter_overrides(hook: str, parameters: list[str]) -> None:
    """``_Adapter`` in transport/session.py overrides these methods of HTTPAdapter."""
    actual = list(inspect.signature(getattr(HTTPAdapter, hook)).parameters)
    assert parameters == actual, f"HTTPAdapter.{hook} has other parameters: adapt _Adapter.{hook} in session.py"
    assert hook in vars(_Adapter), f"_Adapter no longer overrides {hook}: remove it from this test"


def test_send_calls_every_hook_of_a_request(upstream: Upstream) -> None:
    """``_Adapter`` in transport/session.py has its effect only where ``HTTPAdapter.send`` calls what it overrides."""
    called: set[str] = set()

    def spy(name: str) -> Callable[..., Any]:
        def method(self: _Adapter, *args: Any, **options: Any) -> Any:
            called.add(name)
            return getattr(_Adapter, name)(self, *args, **options)

        return method

    hooks = {"get_connection_with_tls_context", "build_connection_pool_key_attributes"}
    hooks |= {"request_url", "cert_verify", "build_response", "init_poolmanager"}
    spied = type("Spied", (_Adapter,), {name: spy(name) for name in hooks})
    upstream.play(once(http_answer(200, BODY)))
    send(spied(create_urllib3_context), f"http://{upstream.address}/").close()
    assert hooks == called, f"HTTPAdapter.send skips {sorted(hooks - called)}: adapt _Adapter in session.py"


def test_send_needs_no_session_and_stores_no_cookies(upstream: Upstream) -> None:
    """``Session._exchange`` in transport/session.py sends a prepared request through an adapter alone."""
    upstream.play(always(http_answer(302, BODY, {"Set-Cookie": "x-token=secret", "Location": "/elsewhere"})))
    adapter = _Adapter(create_urllib3_context)
    for _ in range(2):
        response = send(adapter, f"http://{upstream.address}/", proxies={})
        assert 302 == response.status_code, "the adapter follows redirects: refuse them in Session._exchange"
        assert BODY == response.raw.read(100, decode_content=False)
        response.close()
    assert "cookie" not in "".join(upstream.requests).lower(), (
        "the adapter stores cookies: drop them in Session._exchange"
    )
    assert 1 == upstream.connections, "close() does not return the connection to the pool: adapt Session._exchange"
    adapter.close()


def test_settings_of_the_environment_come_from_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """``read_environment`` in transport/environment.py calls ``merge_environment_settings`` once."""
    parameters = list(inspect.signature(requests.Session.merge_environment_settings).parameters)
    assert ["self", "url", "proxies", "stream", "verify", "cert"] == parameters, "adapt read_environment"
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/ca.pem")
    settings = requests.Session().merge_environment_settings("http://dify/", {}, None, None, None)
    assert ("http://proxy:3128", "/ca.pem") == (settings["proxies"]["http"], settings["verify"])
    assert "http://proxy:3128" == select_proxy("http://dify/", settings["proxies"])
    assert isinstance(DEFAULT_CA_BUNDLE_PATH, str), "adapt read_environment"


def test_pool_managers_look_their_pool_classes_up_in_an_attribute() -> None:
    """``_Adapter`` in transport/session.py sets ``pool_classes_by_scheme`` of pool managers and proxy managers."""
    adapter = _Adapter(create_urllib3_context)
    managers = [adapter.poolmanager, adapter.proxy_manager_for("http://127.0.0.1:1")]
    for manager in managers:
        for scheme, pool_class in POOLS.items():
            pool = manager.connection_from_host("127.0.0.1", 1, scheme)
            connection_class = _TLSConnection if pool.scheme == "https" else _Connection
            assert isinstance(pool, pool_class), "adapt _Adapter.init_poolmanager"
            assert connection_class is pool.ConnectionCls, "pools ignore ConnectionCls: adapt POOLS in connection.py"
    assert not isinstance(urllib3.PoolManager().connection_from_host("127.0.0.1", 1), POOLS["http"]), (
        "pool_classes_by_scheme is shared by all managers: set it on a subclass in session.py"
    )


def test_a_proxy_manager_stores_the_context_of_its_proxy() -> None:
    """``_Adapter.proxy_manager_for`` in transport/session.py replaces a manager whose TLS context is outdated."""
    contexts = [create_urllib3_context(), create_urllib3_context()]
    adapter = _Adapter(lambda: contexts[0])
    first = adapter.proxy_manager_for("https://proxy:3128")
    assert first is adapter.proxy_manager["https://proxy:3128"], "adapt _Adapter.proxy_manager_for"
    assert first is adapter.proxy_manager_for("https://proxy:3128"), "adapt _Adapter.proxy_manager_for"
    del contexts[0]
    second = adapter.proxy_manager_for("https://proxy:3128")
    assert contexts[0] is second.proxy_config.ssl_context, "adapt _Adapter.proxy_manager_for"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_pool_keys_name_the_scheme_and_accept_a_context(scheme: str) -> None:
    """``_Adapter.build_connection_pool_key_attributes`` replaces the TLS settings by the context alone."""
    context = create_urllib3_context()
    adapter = _Adapter(lambda: context)
    request = requests.Request("GET", f"{scheme}://127.0.0.1:1/").prepare()
    host, _ = HTTPAdapter.build_connection_pool_key_attributes(adapter, request, verify=True)
    assert {"scheme": scheme, "host": "127.0.0.1", "port": 1} == host, "adapt the pool key in _Adapter"
    pool = adapter.get_connection_with_tls_context(request, verify=True)
    assert (context if scheme == "https" else None) is pool.conn_kw.get("ssl_context"), "adapt the pool key in _Adapter"


def test_closing_an_adapter_does_not_close_a_pool_in_use(upstream: Upstream) -> None:
    """``_Adapter.close`` in transport/session.py may run in another thread than the request."""
    upstream.play(always(http_answer(200, BODY)))
    adapter = _Adapter(create_urllib3_context)
    request = requests.Request("GET", f"http://{upstream.address}/").prepare()
    pool = adapter.get_connection_with_tls_context(request, verify=True)
    adapter.close()
    response = pool.urlopen("GET", "/", preload_content=False, timeout=Deadline(time.monotonic() + 5))
    assert BODY == response.read(), "clearing a pool manager closes its pools: adapt _Adapter.close"
    response.release_conn()
    del response, pool
    assert upstream.closed.acquire(timeout=5), "an unreferenced pool stays open: close it in _Adapter.close"


def test_timeouts_are_cloned_and_read_as_properties(upstream: Upstream) -> None:
    """``Deadline`` in transport/connection.py overrides what urllib3 asks a Timeout for."""
    asked: list[str] = []

    class Recording(Deadline):
        def clone(self) -> Deadline:
            asked.append("clone")
            return Recording(self._at)

        @property
        def connect_timeout(self) -> float:
            asked.append("connect_timeout")
            return super().connect_timeout

        @property
        def read_timeout(self) -> float:
            asked.append("read_timeout")
            return super().read_timeout

    upstream.play(once(http_answer(200, BODY)))
    request = requests.Request("GET", f"http://{upstream.address}/").prepare()
    deadline: Any = Recording(time.monotonic() + 5)
    _Adapter(create_urllib3_context).send(request, stream=True, timeout=deadline).close()
    assert {"clone", "connect_timeout", "read_timeout"} == set(asked), "adapt Deadline in connection.py"


@pytest.mark.parametrize("kind", [HTTPConnection, HTTPSConnection])
def test_connections_open_their_socket_in_new_conn(kind: type[HTTPConnection], monkeypatch: pytest.MonkeyPatch) -> None:
    """``_Connection`` in transport/connection.py replaces ``_new_conn`` and reads the attributes checked here."""

    class Reached(Exception):
        """The method was called."""

    def new_conn(_: HTTPConnection) -> socket.socket:
        raise Reached

    monkeypatch.setattr(kind, "_new_conn", new_conn)
    connection = kind("127.0.0.1", 1, timeout=3.0)
    with pytest.raises(Reached):
        connection.connect()
    actual = (connection._dns_host, connection.port, connection.timeout, bool(connection.socket_options))
    assert ("127.0.0.1", 1, 3.0, True) == actual, "adapt _Connection._new_conn in connection.py"


def test_answers_are_instances_of_the_response_class() -> None:
    """``_Answer`` in transport/connection.py is made by ``getresponse`` and detaches the raw socket file."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(http_answer(200, BODY))
        ours.settimeout(5)
        connection = _Connection("127.0.0.1", 1, timeout=5.0)
        connection.sock = ours
        connection.request("GET", "/", preload_content=False, decode_content=False)
        response = connection.getresponse()
        original: Any = response._original_response
        assert _Connection.response_class is type(original), "response_class is ignored: adapt _Answer in connection.py"
        assert BODY == response.read(100, decode_content=False), "adapt _read in messages.py"


def test_encoded_bodies_can_be_read_as_sent(upstream: Upstream) -> None:
    """``read_body`` in transport/messages.py decompresses itself, up to its limit."""
    upstream.play(once(http_answer(200, b"not gzip", {"Content-Encoding": "gzip"})))
    response = send(_Adapter(create_urllib3_context), f"http://{upstream.address}/")
    assert b"not gzip" == response.raw.read(100, decode_content=False), "raw bodies are decoded: adapt _read"
    assert b"" == response.raw.read(100, decode_content=False), "the end of a body is no empty piece: adapt _read"
    response.close()


def test_exceptions_chain_to_their_cause(upstream: Upstream) -> None:
    """``unreachable`` in transport/failures.py looks for the cause in the chain of a library exception."""
    upstream.play(lambda peer: (peer.request(), None)[1])
    with pytest.raises(requests.ConnectionError) as caught:
        send(_Adapter(create_urllib3_context), f"http://{upstream.address}/")
    links: list[BaseException | None] = [caught.value]
    while links[-1] is not None:
        links.append(links[-1].__cause__ or links[-1].__context__)
    assert any(isinstance(link, ClosedWithoutAnswer) for link in links), "the cause is not chained: adapt _chain"


def test_exceptions_that_store_their_cause() -> None:
    """``_chain`` in transport/failures.py reads what urllib3 stores instead of chaining it."""
    cause = ssl.SSLError("cause")
    assert cause is urllib3.exceptions.ProxyError("text", cause).original_error, "adapt _chain in failures.py"
    assert (cause,) == urllib3.exceptions.SSLError(cause).args, "adapt _chain in failures.py"


def test_exceptions_of_connecting_can_be_made_from_a_connection() -> None:
    """``_Connection._new_conn`` in transport/connection.py raises these instead of the original method."""
    connection = HTTPConnection("127.0.0.1", 1)
    reason = socket.gaierror(socket.EAI_NONAME, "unknown")
    made = [
        urllib3.exceptions.NameResolutionError("127.0.0.1", connection, reason),
        urllib3.exceptions.ConnectTimeoutError(connection, "too long"),
        urllib3.exceptions.NewConnectionError(connection, "no connection"),
    ]
    assert all(isinstance(error, urllib3.exceptions.HTTPError) for error in made), "adapt _new_conn in connection.py"


def test_a_context_verifies_unless_told_otherwise() -> None:
    """``load_authorities`` in transport/environment.py loads the authorities into a context with urllib3's defaults."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    assert ssl.CERT_REQUIRED == context.verify_mode, "adapt load_authorities"
    assert [] == context.get_ca_certs(), "authorities are loaded by default: adapt load_authorities"
