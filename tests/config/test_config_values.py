"""Single values: which are accepted, which are rejected, and with which message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import parse_api_key, parse_listen_address, values
from exporter.yamlconf import format_duration, parse_duration
from exporter.yamlconf.problems import Invalid, show
from exporter.yamlconf.variables import expand

if TYPE_CHECKING:
    from collections.abc import Callable

UUID = "501756ed-cffa-44bb-b992-713f60113872"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        ("1y", 31_536_000.0),
        ("1m1ms", 60.001),
        ("0s", 0.0),
        ("90m", 5400.0),
    ],
)
def test_durations_are_read_as_prometheus_writes_them(text: str, seconds: float) -> None:
    """Durations with units from ms to y, largest first, are converted to seconds."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["15", "0", "1.5", "-3"])
def test_a_number_is_no_duration(text: str) -> None:
    """A number without a unit is ambiguous; the message has the remedy."""
    with pytest.raises(ValueError, match="has no unit: write 15s"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", " ", "15 s", "1.5h", "m", "s15", "1s1h", "1s1s", "-1s", "15sec", "٣s", "9" * 5000 + "s"]
)
def test_other_text_is_no_duration(text: str) -> None:
    """Fractions, signs, wrong order, repeated units and non-ASCII digits are rejected."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**14))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    """format_duration and parse_duration are inverses, to the millisecond."""
    assert milliseconds == round(parse_duration(format_duration(milliseconds / 1000)) * 1000)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "500ms"), (15, "15s"), (5400, "1h30m"), (21_600, "6h"), (86_400, "1d")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    """Units with a count of zero are omitted."""
    assert text == format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("${C:-three}", "three"),
        ("${A:-three}", "one"),
        ("${EMPTY:-three}", "three"),
        ("${EMPTY}", ""),
        ("${C:-}", ""),
        ("$${A}", "${A}"),
        ("$A $ $$", "$A $ $$"),
        ("${NESTED}", "${A}"),
    ],
)
def test_variables_are_put_in_once(text: str, expected: str) -> None:
    """References, defaults and the escape are substituted; values of variables are not expanded again."""
    assert expected == expand(text, {"A": "one", "B": "two", "EMPTY": "", "NESTED": "${A}"})


def test_an_unset_variable_is_named_with_the_remedy() -> None:
    """The message names the variable and shows the syntax of a default."""
    with pytest.raises(Invalid, match=r"environment variable NOPE, .* write \$\{NOPE:-default\}"):
        expand("a${NOPE}", {})


@pytest.mark.parametrize("text", ["${", "${A", "${A-b}", "${}", "${1}", "${A B}", "${A:=b}"])
def test_a_broken_reference_is_refused(text: str) -> None:
    """A typo in a reference is an error, not literal text."""
    with pytest.raises(Invalid, match=r"write \$\$\{ for a literal"):
        expand(text, {"A": "one"})


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
def test_urls_that_cannot_be_an_api(text: str, message: str) -> None:
    """Each error has its own message, and none shows the URL, which may contain a password."""
    with pytest.raises(Invalid, match=message) as caught:
        values.server_url(text)
    assert "secret" not in str(caught.value)


def test_a_key_is_stripped() -> None:
    """Surrounding white space, which editors add, is not part of the key."""
    assert parse_api_key(" dataset-abc\r\n").reveal() == "dataset-abc"


@pytest.mark.parametrize(
    "text", ["dataset-a bc", "dataset-a\nbc", "dataset-a\x00bc", "dataset-äbc", "dataset-你bc", "dataset-a\x7fbc"]
)
def test_a_key_that_no_header_can_hold_is_refused_unseen(text: str) -> None:
    """HTTP clients quote such a value in their errors; this error does not."""
    with pytest.raises(ValueError, match="is not an API key") as caught:
        parse_api_key(text)
    assert "bc" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n"])
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
    ],
)
def test_listen_addresses(text: str, expected: tuple[str, int]) -> None:
    """Host and port are parsed, IPv6 in brackets; without a host, all interfaces are meant."""
    assert expected == parse_listen_address(text)


@pytest.mark.parametrize(
    "text", ["", "9439", "localhost", "::1:9439", "host:port", "h:1:2", "host:65536", "[x]:1", "a b:1", "[]:1", "[::1"]
)
def test_what_is_no_listen_address(text: str) -> None:
    """A missing port, a port out of range and IPv6 without brackets are rejected."""
    with pytest.raises(ValueError, match=r"is not an address|has a "):
        parse_listen_address(text)


@pytest.mark.parametrize("text", ["/metrics", "/-metrics", "/apis", "/a/b-c_d.e", "/metrics/api"])
def test_paths_of_the_metrics_page(text: str) -> None:
    """Any path is accepted that is not one of the other pages."""
    assert text == values.telemetry_path(text)


@pytest.mark.parametrize(
    "text", ["", "/", "metrics", "/-/x", "/-", "/api", "/api/v1", "/a b", "/{x}", "//x", "/x/", "/../x", "/x?y"]
)
def test_paths_that_are_taken_or_none(text: str) -> None:
    """The landing page, /-/ and /api/ are reserved; braces would be a route pattern."""
    with pytest.raises(Invalid, match=r"is reserved|is not a valid URL path"):
        values.telemetry_path(text)


@pytest.mark.parametrize("text", ["20261121173517669864", "a", "x" * 255, "批次 1", "a.b"])
def test_batch_ids(text: str) -> None:
    """Text that is valid as one segment of a URL path is accepted."""
    assert text == values.batch(text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\nb", " a", "a ", "x" * 256])
def test_what_is_no_batch_id(text: str) -> None:
    """Text that would address another endpoint of the API is rejected."""
    with pytest.raises(Invalid):
        values.batch(text)


@pytest.mark.parametrize("text", ["", " ", " main", "main\n", "a\tb", "x" * 129])
def test_what_is_no_name(text: str) -> None:
    """Names are short, visible and safe in a label."""
    with pytest.raises(Invalid):
        values.name(text)


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 256])
def test_what_is_no_pattern_for_names(text: str) -> None:
    """Patterns that no name could match are rejected."""
    with pytest.raises(Invalid):
        values.name_pattern(text)


def test_ids_are_lower_case() -> None:
    """The API returns IDs in lower case, and IDs in the file must equal them."""
    assert values.uuid_of("there")(UUID.upper()) == UUID


@pytest.mark.parametrize("text", ["", "x", UUID[:-1], UUID + "0", UUID.replace("-", ""), f"{{{UUID}}}", UUID + "\n"])
def test_what_is_no_uuid(text: str) -> None:
    """Dify answers such IDs with a 404 in HTML; the message says where to find the correct one."""
    with pytest.raises(Invalid, match="is not a UUID; copy it from there"):
        values.uuid_of("there")(text)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.whole_number(1, 64), "64", 64),
        (values.number(0.001, 10_000), "0.5", 0.5),
        (values.number(0.001, 10_000), "5", 5.0),
        (values.duration(1, 60), "1m", 60.0),
        (values.boolean, "Yes", True),
        (values.boolean, "off", False),
        (values.choice_of("a", "b"), "b", "b"),
    ],
)
def test_values_in_range(parse: Callable[[str], Any], text: str, value: Any) -> None:
    """The bounds are part of the range."""
    assert value == parse(text)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (values.whole_number(1, 64), "0", "from 1 to 64"),
        (values.whole_number(1, 64), "65", "from 1 to 64"),
        (values.whole_number(1, 64), "010", "from 1 to 64"),
        (values.whole_number(1, 64), "0x10", "from 1 to 64"),
        (values.whole_number(1, 64), "1.0", "from 1 to 64"),
        (values.whole_number(1, 64), "9" * 5000, "from 1 to 64"),
        (values.number(0.001, 10_000), "0", "from 0.001 to 10000"),
        (values.number(0.001, 10_000), ".inf", "from 0.001 to 10000"),
        (values.number(0.001, 10_000), ".nan", "from 0.001 to 10000"),
        (values.number(0.001, 10_000), "-5", "from 0.001 to 10000"),
        (values.duration(1, 60), "999ms", "from 1s to 1m"),
        (values.duration(1, 60), "61s", "from 1s to 1m"),
        (values.boolean, "maybe", "true or false"),
        (values.choice_of("a", "b"), "A", "one of a, b"),
    ],
)
def test_values_out_of_range(parse: Callable[[str], Any], text: str, message: str) -> None:
    """The message contains the whole range."""
    with pytest.raises(Invalid, match=message):
        parse(text)


def test_values_are_shown_escaped_cut_and_masked() -> None:
    """A value quoted in a message is one short line and never a key."""
    assert show("a\nb") == r"'a\nb'"
    assert len(show("x" * 1000)) < 70
    assert show("Dataset-abc") == "'…'"
