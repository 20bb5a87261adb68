"""Users' regular expressions: which are compiled, and which are rejected because a search could take too long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.expressions import LONGEST_TEXT, regular_expression
from exporter.tracking import error_reasons as reasons
from exporter.yamlconf.problems import Invalid


def test_the_cost_bound_holds_for_the_texts_that_are_searched() -> None:
    """Expressions are checked for the longest text that they are applied to."""
    assert reasons.MAX_TEXT == LONGEST_TEXT


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
        r"a*+b*+c*+d",
        r"(?>a*)c",
        r"(?=.*quota)billing",
        r"(a)?b(?(1)c|d)",
    ],
)
def test_usual_expressions_are_compiled(text: str) -> None:
    """Alternatives, bounded repetitions and possessive quantifiers are compiled, ignoring case."""
    expression = regular_expression(text)
    assert (text, True) == (expression.pattern, bool(expression.flags & 2))


def test_an_expression_is_found_whatever_the_case() -> None:
    """The spelling of providers varies."""
    assert regular_expression("Quota").search("the QUOTA is used up")


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+b",
        "(?:a|aa)+b",
        "(a*)*b",
        "(.*,)*x",
        "((a{0,9}){0,9}){0,9}b",
        ".*a.*b",
        "x*x*x*y",
        "(?:(a+)|b)+c",
        "(?=(a+)+b)a",
        "(?>(a+)+b)a",
        "(a)b(?(1)(c+)+d|e)",
        "(?:a?){30}a{30}",
    ],
)
def test_what_could_take_for_ever_is_refused(text: str) -> None:
    """Nested repetitions, and several in a row, are rejected; the message has the remedy."""
    with pytest.raises(Invalid, match=r"could take too long on some texts: write \.\{0,60\} instead of \.\*"):
        regular_expression(text)


@pytest.mark.parametrize("text", ["", "a|", "a*", "(a)?", "^$"])
def test_what_fits_every_text_is_refused(text: str) -> None:
    """Such a pattern would hide all other reasons."""
    with pytest.raises(Invalid, match="matches every text, even an empty one"):
        regular_expression(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(", "missing \\), unterminated subpattern at character 1"),
        ("a**", "multiple repeat at character 3"),
        ("(?P<sec-ret>a)", "bad character in group name at character 5"),
        ("a{99999999999}", "repeats too often or is nested too deeply"),
        ("(" * 240 + ")" * 240, "too long|too deeply|matches every text"),
        ("x" * 501, "is longer than 500 characters"),
    ],
)
def test_what_is_no_expression(text: str, message: str) -> None:
    """The message has the position of the error and quotes nothing."""
    with pytest.raises(Invalid, match=message) as caught:
        regular_expression(text)
    assert "sec-ret" not in str(caught.value)


def test_warnings_of_the_compiler_are_no_errors() -> None:
    """An expression that Python only warns about, because its meaning may change, is accepted."""
    assert regular_expression("[[a]b]").search("ab]")


@given(st.text(st.sampled_from("ab.*+?{}2,()[]|\\^$<>=!:P#"), max_size=12))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    """No other exception is raised, and a compiled expression is fast on a text of equal characters."""
    try:
        expression = regular_expression(text)
    except Invalid:
        return
    start = time.process_time()
    expression.search("a" * 500)
    assert time.process_time() - start < 5
