"""Compiles users' regular expressions, and rejects those with which a search could take too long.

Python's engine tries the ways in which an expression can match one after the other. The repetitions in the expression
bound their number. That bound is computed here and must not exceed what a search can try in a few seconds. Usual
expressions are far below the limit, ``(a+)+`` is far above it.
"""

from __future__ import annotations

import math
import re
import warnings

# The parser of re has no public name; its output has been stable for twenty years.
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from exporter.yamlconf.problems import Invalid

LONGEST_TEXT: Final = 4096
"""Maximum number of characters that an expression is searched in."""

_LONGEST: Final = 500
_MAX_WAYS: Final = math.log10(2e8)  # two or three seconds
_BACKTRACKING: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


def regular_expression(text: str) -> re.Pattern[str]:
    """Compile ``text``, ignoring case. Raises ``Invalid``."""
    if len(text) > _LONGEST:
        raise Invalid(f"is longer than {_LONGEST} characters: split it in two")
    why = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expression = re.compile(text, re.IGNORECASE)
            ways = _ways(_parser.parse(text)) + math.log10(LONGEST_TEXT)
    except re.error as error:
        said, _, _piece_of_the_text = error.msg.partition(" '")
        why = f"is not a regular expression: {said} at character {(error.pos or 0) + 1}"
    except (OverflowError, RecursionError):
        why = "is not a regular expression: it repeats too often or is nested too deeply"
    if why:
        raise Invalid(why)
    if ways > _MAX_WAYS:
        raise Invalid(
            "could take too long on some texts: write .{0,60} instead of .*, "
            "and do not repeat a group that contains repetitions or alternatives"
        )
    if expression.search(""):
        raise Invalid("matches every text, even an empty one: is there an extra |?")
    return expression


def _ways(items: Any) -> float:
    """The decimal logarithm of the number of ways in which the sequence ``items`` can match at one position."""
    return sum(_ways_of(str(operation), argument) for operation, argument in items)


def _ways_of(operation: str, argument: Any) -> float:
    if operation in _BACKTRACKING:
        low, high, body = argument
        most = min(int(high), LONGEST_TEXT)
        return _ways(body) * most + math.log10(max(most - low, 0) + 1)
    if operation == "BRANCH":
        return math.log10(sum(10 ** min(_ways(branch), 100.0) for branch in argument[1]))
    return max((_ways(part) for part in _parts(argument)), default=0.0)


def _parts(argument: Any) -> list[Any]:
    """The expressions inside a group, a look-around, a conditional or an atomic repetition."""
    candidates = argument if isinstance(argument, tuple) else (argument,)
    return [part for part in candidates if isinstance(part, _parser.SubPattern)]
