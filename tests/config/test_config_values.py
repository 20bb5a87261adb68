"""Single values: which are accepted, which are refused, and with which message."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import parse_api_key, parse_listen_address, values
from exporter.config.values import search_pattern
from exporter.yamlconf import Invalid

UUID = "501756ed-cffa-44bb-b992-713f60113872"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://api.dify.ai/v1", "https://api.dify.ai/v1"),
        ("http://api:5001/v1//", "http://api:5001/v1"),
        ("HTTP://[::1]:5001/v1", "http://[::1]:5001/v1"),
        ("https://example.com/team/dify/v1/", "https://example.com/team/dify/v1"),
        ("https://bücher.example/v1", "https://bücher.example/v1"),
        ("http://docker_api:80/v1", "http://docker_api:80/v1"),
    ],
)
def test_urls_of_an_api(text: str, expected: str) -> None:
    """Any host and path prefix is accepted; a trailing slash is removed."""
    assert expected == values.server_url(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api.dify.ai/v1", "is not a URL"),
        ("ftp://api.dify.ai/v1", "is not a URL"),
        ("https:///v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https://host:port/v1", "is not a URL"),
        ("https://host:99999/v1", "is not a URL"),
        ("", "is not a URL"),
        ("https://user:secret@host/v1", "user name or password"),
        ("https://host/v1?x=1", "query or a fragment"),
        ("https://host/v1#x", "query or a fragment"),
        ("https://api.dify.ai", "must end in /v1"),
        ("https://api.dify.ai/v10", "must end in /v1"),
        ("https://api.dify.ai/xv1", "must end in /v1"),
        ("https://a b/v1", "white space"),
        ("https://host/\nv1", "white space"),
        ("https://a..b/v1", "neither a name nor an address"),
        ("https://*.b/v1", "neither a name nor an address"),
        ("https://[v1.x]/v1", "neither a name nor an address"),
        ("https://bü..b/v1", "neither a name nor an address"),
    ],
)
def test_urls_that_cannot_be_those_of_an_api(text: str, message: str) -> None:
    """Each error has its own message, and none shows the URL, which may contain a password."""
    with pytest.raises(Invalid, match=message) as caught:
        values.server_url(text)
    assert "secret" not in str(caught.value)


def test_a_key_is_stripped() -> None:
    """Surrounding white space, which editors add, is not part of the key."""
    assert parse_api_key(" dataset-abc\r\n").reveal() == "dataset-abc"


@pytest.mark.parametrize(
    "text",
    [
        "dataset-a bc",
        "dataset-a\x00bc",
        "dataset-äbc",
        "dataset-你bc",
        "dataset-a\x7fbc",
    ],
)
def test_a_key_that_is_not_a_valid_header_is_refused_without_quoting_it(text: str) -> None:
    """HTTP clients quote such a value in their errors; this error does not."""
    with pytest.raises(ValueError, match="is not an API key") as caught:
        parse_api_key(text)
    assert "bc" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n", "\ufeff\n"])
def test_an_empty_key_is_refused(text: str) -> None:
    """An empty secret is detected at startup, not with the first 401."""
    with pytest.raises(ValueError, match="is empty"):
        parse_api_key(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3:9439", ("10.1.2.3", 9439)),
        (":9439", ("", 9439)),
        ("[::1]:9439", ("::1", 9439)),
        ("localhost:0", ("localhost", 0)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65_535)),
    ],
)
def test_listen_addresses(text: str, expected: tuple[str, int]) -> None:
    """Host and port are parsed, IPv6 in brackets, and formatted back unchanged; without a host, all are meant."""
    address = parse_listen_address(text)
    assert expected == address
    assert text == str(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9439",
        "localhost",
        "::1:9439",
        "host:port",
        "h:1:2",
        "host:65536",
        "[x]:1",
        "a b:1",
        "[]:1",
        "[::1",
        "host:",
        ":-1",
        "http://h:1",
        ":1\n",
    ],
)
def test_invalid_listen_addresses(text: str) -> None:
    """A missing port, a port out of range and IPv6 without brackets are rejected."""
    with pytest.raises(ValueError, match="is not an address: write host:port"):
        parse_listen_address(text)


@pytest.mark.parametrize("text", ["/metrics", "/-metrics", "/apis", "/a/b-c_d.e", "/metrics/api"])
def test_paths_of_the_metrics_page(text: str) -> None:
    """Any path is accepted that is not one of the other pages."""
    assert text == values.telemetry_path(text)


@pytest.mark.parametrize(
    "text", ["", "/", "metrics", "/-/x", "/-", "/api", "/api/v1", "/a b", "/{x}", "//x", "/x/", "/../x", "/x?y"]
)
def test_reserved_and_invalid_paths(text: str) -> None:
    """The landing page, /-/ and /api/ are reserved; braces would be a route pattern."""
    with pytest.raises(Invalid, match=r"is reserved|is not a valid URL path"):
        values.telemetry_path(text)


@pytest.mark.parametrize("text", ["20261121173517669864", "a", "x" * 255, "批次 1", "a.b"])
def test_batch_ids(text: str) -> None:
    """Text that is valid as one segment of a URL path is accepted."""
    assert text == values.batch(text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\nb", " a", "a ", "x" * 256])
def test_invalid_batch_ids(text: str) -> None:
    """Text that would address another endpoint of the API is rejected."""
    with pytest.raises(Invalid):
        values.batch(text)


@pytest.mark.parametrize("text", ["", " ", " main", "main\n", "a\tb", "x" * 129])
def test_invalid_names(text: str) -> None:
    """Names are short, visible and safe in a label."""
    with pytest.raises(Invalid):
        values.name(text)


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 256])
def test_invalid_name_patterns(text: str) -> None:
    """Patterns that no name could match are rejected."""
    with pytest.raises(Invalid):
        values.name_pattern(text)


def test_ids_are_lower_case() -> None:
    """The API returns IDs in lower case, and IDs in the file must equal them."""
    assert values.uuid_of("there")(UUID.upper()) == UUID


@pytest.mark.parametrize("text", ["", "x", UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", UUID + "\n"])
def test_invalid_uuids(text: str) -> None:
    """Dify answers such IDs with a 404 in HTML; the message says where to find the correct one."""
    with pytest.raises(Invalid, match="is not a UUID; copy it from there"):
        values.uuid_of("there")(text)


@pytest.mark.parametrize(
    "text",
    [
        "quota",
        "rate.*limit",
        r"rate.{0,60}limit.{0,60}exceeded",
        r"\b429\b|too many (?:requests|calls)",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"[tr]pm",
        r"colou?r",
        "(a+)+b",
        "(?:a?){30}a{30}",
        ".*a.*b",
    ],
)
def test_usual_expressions_are_compiled(text: str) -> None:
    """Alternatives and repetitions are compiled, nested ones too: the time of a search is always linear."""
    pattern = search_pattern(text)
    start = time.process_time()
    assert not pattern.search("z" * 4096)
    pattern.search("a" * 4096)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["the QUOTA is used up", "\ud800 quota", "é: quota"])
def test_an_expression_is_searched_ignoring_case(text: str) -> None:
    """The spelling of providers varies, and some of their texts are damaged."""
    assert search_pattern("Quota").search(text)
    assert search_pattern("É").search("é")


def test_expressions_with_the_same_text_are_equal() -> None:
    """A reload of an unchanged configuration changes nothing."""
    assert search_pattern("a") == search_pattern("a")
    assert len({search_pattern("a"), search_pattern("a"), search_pattern("b")}) == 2


@pytest.mark.parametrize("text", ["", "a|", "a*", "(a)?", "^$"])
def test_expressions_that_match_every_text_are_refused(text: str) -> None:
    """Such a pattern would hide all other reasons."""
    with pytest.raises(Invalid, match="matches every text, even an empty one"):
        search_pattern(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(", r"missing \)"),
        ("[a", r"missing \]"),
        ("a**", "bad repetition operator"),
        ("a++", "bad repetition operator"),
        ("(?P<sec-ret>a)", "invalid named capture group"),
        ("a{1001}", "it repeats something more than 1000 times"),
        (r"[\pL\pN]{1000}", "pattern too large"),
        ("(?=.*quota)billing", "RE2 does not support, such as look-around"),
        ("(?<!no )quota", "RE2 does not support, such as look-around"),
        ("(?>a*)c", "RE2 does not support, such as look-around"),
        (r"(a)\1", "RE2 does not support, such as a back-reference"),
        ("x" * 501, "is longer than 500 characters"),
    ],
)
def test_invalid_and_unsupported_expressions(text: str, message: str) -> None:
    """The message says what is wrong and quotes nothing."""
    with pytest.raises(Invalid, match=message) as caught:
        search_pattern(text)
    assert "sec-ret" not in str(caught.value)


@given(st.text(st.sampled_from("ab.*+?{}2,()[]|\\^$<>=!:P#"), max_size=12))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    """No other exception is raised, neither by compiling nor by searching."""
    with contextlib.suppress(Invalid):
        search_pattern(text).search("a" * 500)
