"""From the error text of a document to one of a few reasons. The text itself never becomes a label.

The reason says where to look: at the limits and the account of the model's provider (``rate_limit``, ``quota``,
``timeout``), at the model, at the plugin daemon, at the databases and files of the server (``storage``), or at the
document (``unsupported``). A component that is named counts for more than the way in which it failed.
"""

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
    """An expression and the reason that it stands for. The first one that is found counts.

    ``words``: it is looked for in the words of the text, without the names and data that are quoted in it.
    """

    expression: re.Pattern[str]
    reason: str
    words: bool = False


def _pattern(reason: str, *expressions: str) -> Pattern:
    return Pattern(re.compile("|".join(expressions), re.IGNORECASE), reason, words=True)


def _code(status: int) -> str:
    """An HTTP status, and not any number that looks like one."""
    return (
        rf"(?:code|status|error|http)\b[^\d\n]{{0,12}}\b{status}\b"
        rf"|\b{status}\b[ :-]{{1,3}}(?:client|server|too|payment|gateway|resource)"
        rf"|^\W*{status}\b"
    )


PATTERNS = (
    _pattern("storage", r"disk quota"),
    # PostgreSQL refuses the text of such a document, whatever database is behind it.
    _pattern("unsupported", r"\b0x00\b", r"\bnul\b"),
    # Providers announce a used-up account as a rate limit (429), and call limits a minute a quota.
    _pattern(
        "rate_limit",
        r"per[ _-]?(?:minute|second|min\b|sec\b)",
        r"\b[tr]pm\b(?:\)|:| limit| rate)",
        r"\b(?:request|call) rate limit",
        r"ratequota",
    ),
    _pattern(
        "quota",
        r"quota",
        r"insufficient[ _](?:balance|credits?|funds)",
        r"balance.{0,20}(?:insufficient|not enough|too low)",
        r"billing",
        r"payment required",
        r"arrearage|overdue",
        r"credits? (?:has|have) been (?:used|exhausted)",
        r"limit of your subscription|upgrade your plan|upload limit|daily.{0,20}limit",
        r"vector space",
        "余额不足|欠费|额度",
        _code(402),
    ),
    _pattern(
        "rate_limit",
        r"rate[ _-]?limit",
        r"too many requests",
        r"throttl",
        r"resource[ _]?exhausted",
        r"\bqps\b",
        "速率限制|请求过多|并发",
        _code(429),
    ),
    # Another model than the one that the vectors were made with.
    _pattern(
        "model", r"\bdim(?:ension)?s?\b.{0,60}(?:got|not|mismatch|expect)", r"expected \d+ dim", r"vector lengths"
    ),
    _pattern(
        "plugin",
        r"plugin[ _-]?daemon",
        r"killed by timeout",
        r"plugin (?:runtime )?not found",
        r"no available node",
    ),
    _pattern(
        "storage",
        r"weaviate|qdrant|milvus|pgvector|opensearch|elasticsearch|\bchroma(?:db)?\b|\btidb\b|oceanbase|couchbase|lindorm",
        r"analyticdb|vikingdb|myscale|tablestore|vector[ _]?(?:store|database|db)",
        r"unexpected status code: \d+, with response body",  # what Weaviate's client says without its name
        r"filter index field",
        r"psycopg|sqlalchemy|postgres|mysql|queuepool|\bora-\d{5}|deadlock detected|password authentication failed",
        r"\bredis\b",
        r"nosuch(?:key|bucket)|\bminio\b|\bs3\b|\boss\b|\bbucket\b|blob ?not ?found|blob storage",
        r"no such file|file not found|filenotfound|no space left|disk (?:is )?full|disk usage|read-only",
        r"\berrno (?:5|13|28|30)\b",
    ),
    _pattern(
        "timeout", r"time[ds]?[ _-]?out", r"deadline exceeded", r"time ?limit ?exceeded", "超时", _code(504), _code(524)
    ),
    _pattern(
        "model",
        r"\[models?\]",
        r"\binvoke\w*error",
        r"(?:server unavailable|bad request|connection|authorization) error, ",
        r"\bmodels?\b.{0,60}(?:\bnot\b|invalid|unavailable|fail|overloaded|available)",
        r"(?:embeddings?|rerank\w*|provider|credentials?)\b.{0,40}(?:\bnot\b|invalid|incorrect|fail|unavailable)",
        r"incorrect model credentials",
        r"provider[ _]?token[ _]?not[ _]?init",
        r"api[ _-]?key|unauthorized|authentication",
        r"context length|max(?:imum)? (?:tokens|input length)|less than \d+ tokens|too many tokens|input is too long",
        r"batch size|payload too large|request entity too large",
        r"\b(?:openai|ollama|xinference|vllm|localai|siliconflow|dashscope|zhipu\w*|bedrock|gemini|hugging ?face)\b",
    ),
    _pattern(
        "unsupported",
        r"unsupported|not supported|does not support",
        r"failed to load document|data format error|pdfium",
        r"not a (?:zip|word|valid|pdf)",
        r"badzipfile|package not found",
        r"codec can't decode|(?:detect\w*|unknown) encodings?",
        r"password|encrypted",
        r"corrupt|malformed|invalid (?:file|document|pdf|format)|empty file",
        r"file (?:type|format|extension)",
        r"soffice|libreoffice",
        r"(?:cannot|could not|unable to|failed to) (?:parse|extract|read|open)",
    ),
    _pattern("plugin", r"plugin"),
)
"""What Dify, its plugin daemon, its stores and its model providers write, from the reports of its users."""

_FILE_TYPES = (
    r"(?:docx?|xlsx?|pptx?|pdf|csv|tsv|txt|mdx?|markdown|html?|xml|json|ya?ml|epub|eml|msg|properties|vtt|rtf|odt|py)"
)
_STATEMENT = re.compile(r"\[(?:SQL|parameters): ")
_LINK = re.compile(r"https?://([\w.:-]+)[^\s'\"<>,;()\[\]{}]*")
_QUOTED_FILE = re.compile(rf"([\"'`])[^\"'`\n]{{1,255}}?\.{_FILE_TYPES}\1", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.:/\\])(?:[a-z]:)?[/\\][^\s'\"<>,;()\[\]{}]+", re.IGNORECASE)
_FILE = re.compile(rf"(?<![\w./\\@%+~-])[\w./\\@%+~-]{{1,255}}\.{_FILE_TYPES}\b", re.IGNORECASE)


def classify(text: str | None, patterns: Iterable[Pattern] = PATTERNS) -> str:
    """The reason that ``text`` tells; ``other`` when no pattern is found in it."""
    shown = (text or "")[:MAX_TEXT]
    words = _words(shown)
    found = (pattern.reason for pattern in patterns if pattern.expression.search(words if pattern.words else shown))
    return next(found, "other")


def _words(text: str) -> str:
    """``text`` in one line without what users named and wrote: files, paths, the text of a document in a statement.

    Of a link its host stays: it is often all that tells which component failed.
    """
    text = _STATEMENT.split(text, maxsplit=1)[0]
    text = _LINK.sub(r" \1 ", text)
    for quoted in (_QUOTED_FILE, _PATH, _FILE):
        text = quoted.sub(" ", text)
    return " ".join(text.split())
