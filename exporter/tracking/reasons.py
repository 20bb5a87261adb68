"""From the error text of a document to one of a few reasons. The text itself never becomes a label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

REASONS = ("rate_limit", "quota", "timeout", "model", "plugin", "unsupported", "storage", "other")
"""Every ``reason`` of a failed document."""

MAX_TEXT = 4_096
"""Characters of an error text that are looked at: an exception can be of any length."""


class Pattern(NamedTuple):
    """An expression and the reason that it stands for. The first one that is found in the text counts."""

    expression: re.Pattern[str]
    reason: str


def _pattern(reason: str, *expressions: str) -> Pattern:
    return Pattern(re.compile("|".join(expressions), re.IGNORECASE), reason)


PATTERNS = (
    # Of what providers say, the most specific first: a quota is often announced with a 429 too.
    _pattern(
        "quota",
        r"quota",
        r"insufficient[ _](?:balance|credits?|funds)",
        r"exceeded your current",
        r"billing",
        r"arrearage",
        r"\b402\b",
        r"credits? (?:has|have) been (?:used|exhausted)",
        r"over the limit of your subscription",
        r"document (?:upload )?limit",
        r"vector space",
    ),
    _pattern("rate_limit", r"rate[ _-]?limit", r"too many requests", r"\b429\b", r"\b[tr]pm\b", r"throttl"),
    _pattern("timeout", r"time[ds]?[ _-]?out", r"deadline exceeded", r"\b504\b", r"\b524\b"),
    _pattern("plugin", r"plugin", r"daemon"),
    _pattern(
        "storage",
        r"no space left",
        r"disk (?:is )?full",
        r"read-only file system",
        r"no such file",
        r"nosuchkey",
        r"file not found",
        r"\bs3\b|minio|\boss\b|bucket",
        r"weaviate|qdrant|milvus|pgvector|opensearch|elasticsearch|chroma|tidb|vector[ _]?(?:store|database|db)",
        r"psycopg|sqlalchemy|postgres|deadlock detected",
        r"redis",
    ),
    _pattern(
        "model",
        r"invokeerror|invoke\w*error",
        r"(?:embedding|language|rerank|default|provider|credentials?).{0,40}(?:not|invalid|incorrect|fail|unavailable)",
        r"model.{0,60}(?:not|invalid|unavailable|does not|fail|overloaded)",
        r"provider[ _]?token[ _]?not[ _]?init",
        r"api[ _]key",
        r"unauthorized|authentication",
        r"maximum context length|max(?:imum)? tokens|input is too long|too many tokens",
        r"dimension",
    ),
    _pattern(
        "unsupported",
        r"unsupported",
        r"not supported",
        r"failed to load document|data format error|pdfium",
        r"not a (?:zip|word|valid|pdf)",
        r"badzipfile|package not found",
        r"codec can't decode|encoding",
        r"password|encrypted",
        r"corrupt|malformed|invalid (?:file|document|pdf|format)",
        r"file type|extension",
        r"cannot (?:parse|extract|read)|failed to (?:parse|extract|read)",
    ),
)
"""What Dify, its plugin daemon, its stores and its model providers write, from the reports of its users."""


def classify(text: str | None, patterns: Iterable[Pattern] = PATTERNS) -> str:
    """The reason that ``text`` tells; ``other`` when no pattern is found in it."""
    shown = (text or "")[:MAX_TEXT]
    return next((pattern.reason for pattern in patterns if pattern.expression.search(shown)), "other")
