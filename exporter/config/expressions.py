"""Regular expressions of users: compiled, and refused where a search with them could take for ever.

Python's engine tries one way after the other in which an expression can fit. How many ways there are is bounded by the
repetitions in it: that bound is computed here, and kept below what a search can go through in a few seconds. Usual
expressions are far below it, ``(a+)+`` is far above.
"""

from __future__ import annotations

import math
import re
import warnings

# The parser that re itself uses has no public name; what it returns has been the same for twenty years.
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from exporter.config.problems import Invalid

LONGEST_TEXT: Final = 4096
"""Characters that an expression is searched in, at most."""

_LONGEST: Final = 500
_MAX_WAYS: Final = math.log10(2e8)  # two or three seconds
_BACKTRACKING: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


def regular_expression(text: str) -> re.Pattern[str]:
    """``text`` compiled, to be searched for whatever the case."""
    if len(text) > _LONGEST:
        raise Invalid(f"is longer than {_LONGEST} characters: make two of it")
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
            "could take too long on some texts: write .{0,60} in place of .*, "
            "and repeat nothing that repeats or has alternatives"
        )
    if expression.search(""):
        raise Invalid("fits every text, even an empty one: is there a | too many?")
    return expression


def _ways(items: Any) -> float:
    """The decimal logarithm of the number of ways in which ``items``, one after the other, can fit at one place."""
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
    """The expressions inside of a group, a look-around, a condition or an atomic repetition."""
    candidates = argument if isinstance(argument, tuple) else (argument,)
    return [part for part in candidates if isinstance(part, _parser.SubPattern)]
