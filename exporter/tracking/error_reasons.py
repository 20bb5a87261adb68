"""Classifies the error text of a document as one of a few reasons. The text itself never becomes a label.

The reason says where to look: at the limits and the account of the model provider (``rate_limit``, ``quota``,
``timeout``), at the model, at the plugin daemon, at the databases and files of the server (``storage``), or at the
document (``unsupported``). The name of a component takes precedence over the way in which it failed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_TEXT = 4_096
"""Characters of an error text that are searched: an exception can have any length."""


class Pattern(NamedTuple):
    """What to search for, and its reason. The first pattern whose ``search`` returns something true wins.

    ``words``: search the text without the names and data that are quoted in it.
    """

    search: Callable[[str], object]
    reason: str
    words: bool = False


def _pattern(reason: str, *expressions: str) -> Pattern:
    return Pattern(re.compile("|".join(expressions), re.IGNORECASE).search, reason, words=True)


def _code(status: int) -> str:
    """Match an HTTP status, but not just any equal number."""
    return (
        rf"(?:code|status|error|http)\b[^\d\n]{{0,12}}\b{status}\b"
        rf"|\b{status}\b[ :-]{{1,3}}(?:client|server|too|payment|gateway|resource)"
        rf"|^\W*{status}\b"
    )


PATTERNS = (
    _pattern("storage", r"disk quota"),
    # PostgreSQL rejects the text of such a document, whichever vector database is in use.
    _pattern("unsupported", r"\b0x00\b", r"\bnul\b"),
    # Providers report an exhausted account as a rate limit (429), and call per-minute limits a quota.
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
    # The vectors were created with a different model.
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
        r"unexpected status code: \d+, with response body",  # from Weaviate's client, which does not name itself
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
"""Error texts of Dify, its plugin daemon, its stores and its model providers, from users' reports."""

_FILE_TYPES = (
    r"(?:docx?|xlsx?|pptx?|pdf|csv|tsv|txt|mdx?|markdown|html?|xml|json|ya?ml|epub|eml|msg|properties|vtt|rtf|odt|py)"
)
_STATEMENT = re.compile(r"\[(?:SQL|parameters): ")
_LINK = re.compile(r"https?://([\w.:-]+)[^\s'\"<>,;()\[\]{}]*")
_QUOTED_FILE = re.compile(rf"([\"'`])[^\"'`\n]{{1,255}}?\.{_FILE_TYPES}\1", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.:/\\])(?:[a-z]:)?[/\\][^\s'\"<>,;()\[\]{}]+", re.IGNORECASE)
_FILE = re.compile(rf"(?<![\w./\\@%+~-])[\w./\\@%+~-]{{1,255}}\.{_FILE_TYPES}\b", re.IGNORECASE)


def classify(text: str | None, patterns: Iterable[Pattern] = PATTERNS) -> str:
    """The reason for ``text``; ``other`` if no pattern matches."""
    shown = (text or "")[:MAX_TEXT]
    words = _words(shown)
    found = (pattern.reason for pattern in patterns if pattern.search(words if pattern.words else shown))
    return next(found, "other")


def _words(text: str) -> str:
    """``text`` on one line, without what users named and wrote: files, paths, the text of a document in a statement.

    The host of a link is kept: it is often the only hint at the component that failed.
    """
    text = _STATEMENT.split(text, maxsplit=1)[0]
    text = _LINK.sub(r" \1 ", text)
    for quoted in (_QUOTED_FILE, _PATH, _FILE):
        text = quoted.sub(" ", text)
    return " ".join(text.split())
