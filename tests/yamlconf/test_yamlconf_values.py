"""Values that any configuration has: which are accepted, which are refused, and with which message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.yamlconf import Invalid, Secret, Value, format_duration, parse_duration, show
from exporter.yamlconf.reader import expand
from exporter.yamlconf.values import BOOLEAN, choice, duration, number, whole_number

KEY = "dataset-0123456789"


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
def test_a_number_without_a_unit_is_refused(text: str) -> None:
    """A number without a unit is ambiguous; the message has the remedy."""
    with pytest.raises(ValueError, match="has no unit: write 15s"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", " ", "15 s", "1.5h", "m", "s15", "1s1h", "1s1s", "-1s", "15sec", "٣s", "9" * 5000 + "s"]
)
def test_text_that_is_not_a_duration_is_refused(text: str) -> None:
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
def test_durations_are_formatted_without_zero_units(seconds: float, text: str) -> None:
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
def test_variables_are_substituted_once(text: str, expected: str) -> None:
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
    ("kind", "text", "value"),
    [
        (whole_number(1, 64), "64", 64),
        (number(0.001, 10_000), "0.5", 0.5),
        (number(0.001, 10_000), "5", 5.0),
        (duration(1, 60), "1m", 60.0),
        (BOOLEAN, "Yes", True),
        (BOOLEAN, "off", False),
        (choice("a", "b"), "b", "b"),
    ],
)
def test_values_in_range(kind: Value, text: str, value: Any) -> None:
    """The bounds are part of the range."""
    assert value == kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (whole_number(1, 64), "0", "from 1 to 64"),
        (whole_number(1, 64), "65", "from 1 to 64"),
        (whole_number(1, 64), "010", "from 1 to 64"),
        (whole_number(1, 64), "0x10", "from 1 to 64"),
        (whole_number(1, 64), "1.0", "from 1 to 64"),
        (whole_number(1, 64), "9" * 5000, "from 1 to 64"),
        (number(0.001, 10_000), "0", "from 0.001 to 10000"),
        (number(0.001, 10_000), ".inf", "from 0.001 to 10000"),
        (number(0.001, 10_000), ".nan", "from 0.001 to 10000"),
        (number(0.001, 10_000), "-5", "from 0.001 to 10000"),
        (duration(1, 60), "999ms", "from 1s to 1m"),
        (duration(1, 60), "61s", "from 1s to 1m"),
        (BOOLEAN, "maybe", "true or false"),
        (choice("a", "b"), "A", "one of a, b"),
    ],
)
def test_values_out_of_range(kind: Value, text: str, message: str) -> None:
    """The message contains the whole range."""
    with pytest.raises(Invalid, match=message):
        kind.parse(text)


def test_values_are_shown_escaped_cut_and_masked() -> None:
    """A value quoted in a message is one short line and never a key."""
    assert show("a\nb") == r"'a\nb'"
    assert len(show("x" * 1000)) < 70
    assert show("Dataset-abc") == "'…'"


def test_a_secret_has_no_readable_form() -> None:
    """A secret is shown only by ``reveal``."""
    secret = Secret(KEY)
    assert KEY not in f"{secret} {secret!r}"
    assert secret.reveal() == KEY


def test_equal_secrets_are_equal() -> None:
    """A reload detects a changed key, and no change if the key is the same."""
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY
