"""What happens in an embedded Dify, as plain data: knowledge bases, batches, documents and their indexing.

All durations are seconds on the world's clock. ``at`` counts from the start of the enclosing object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import yaml
from msgspec import Struct, field

from exporter.yamlconf import Invalid, read_text

if TYPE_CHECKING:
    from pathlib import Path

Phase = Literal["parsing", "splitting", "indexing"]
Outcome = Literal["completes", "fails", "dies", "hangs"]
ActionKind = Literal[
    "pause",
    "resume",
    "retry",
    "reupload",
    "update",
    "fall_back",
    "come_back",
    "disable",
    "enable",
    "archive",
    "unarchive",
    "delete",
]
FaultKind = Literal[
    "status",
    "json",
    "html",
    "empty",
    "redirect",
    "delay",
    "drip",
    "cut",
    "truncated",
    "huge",
    "gzip_bomb",
    "length",
    "interim",
    "field",
    "plugin_down",
    "postgres_down",
    "redis_down",
]


class ScenarioError(ValueError):
    """An invalid scenario. The message names the file and the path of the invalid value."""


class Attempt(Struct, frozen=True, forbid_unknown_fields=True):
    """One attempt at indexing a document.

    ``parse``, ``split``, ``index``: seconds in each phase, from the document's turn on. ``jumps``: steps in which
    completed segments appear with high-quality indexing, at most ten. ``missing``: segments that never complete
    although the document does. ``outcome`` is ``fate`` in a file. Unless it is ``completes``, it happens after
    the share ``after`` of ``phase``: ``fails`` with ``error``, ``dies`` (the worker is killed and restarts without the
    task) or ``hangs`` (the worker is blocked forever).
    """

    segments: int = 20
    characters: int = 9_140
    tokens: int = 2_000
    parse: float = 0.2
    split: float = 1.0
    index: float = 2.0
    jumps: int = 10
    missing: int = 0
    outcome: Outcome = field(default="completes", name="fate")
    phase: Phase = "indexing"
    after: float = 0.5
    error: str = "Failed to load document (PDFium: Data format error)."


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """How a document is split. Automatic rules have ``delimiter`` where others have ``separator``."""

    mode: Literal["automatic", "custom", "hierarchical"] = "automatic"
    separator: str = "\n"
    max_tokens: int = 500
    chunk_overlap: int = 50
    parent_mode: Literal["paragraph", "full-doc"] = "paragraph"
    subchunk_max_tokens: int = 200


class DocumentPlan(Attempt, frozen=True, forbid_unknown_fields=True):
    """A document and its first attempt. By default its ``id`` is derived from dataset, batch and name."""

    name: str = "document.txt"
    id: str = ""
    rule: Rule = Rule()
    language: str | None = "English"
    created_from: str = "api"
    source: Literal["upload_file", "notion_import", "website_crawl"] = "upload_file"
    hits: int = 0
    metadata: dict[str, str] = {}


class Action(Struct, frozen=True, forbid_unknown_fields=True):
    """An action on a document of a batch, or on all its documents if ``document`` (an id or a name) is "".

    ``kind`` is ``do`` in a file. ``attempt`` (``life`` in a file): the attempt that ``retry``, ``reupload`` and
    ``update`` start; by default the last one again, with the outcome ``completes``. ``lost``: the message never reaches
    a worker. ``batch``: the batch to act on, if a plan does not imply it. ``into``: the new batch of a re-upload.
    ``name``: the new name that an update sets.
    """

    kind: ActionKind = field(name="do")
    document: str = ""
    at: float = 0.0
    batch: str = ""
    into: str = ""
    name: str = ""
    attempt: Attempt | None = field(default=None, name="life")
    lost: bool = False


class BatchPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """One upload, one worker task. ``queue``: seconds until its message reaches the workers; ``lost``: it never does.

    ``repeat``: the interval in seconds at which the batch starts over under the same ids (a real server would assign
    new ones). Repetition keeps a demo active and its memory bounded.
    """

    id: str = ""
    at: float = 0.0
    queue: float = 0.5
    lost: bool = False
    repeat: float | None = None
    documents: tuple[DocumentPlan, ...] = (DocumentPlan(),)
    actions: tuple[Action, ...] = ()


class DatasetPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """A knowledge base.

    ``pipeline``: documents wait, then complete or fail. ``api``: API access is enabled. ``private``: only its creator
    sees it, and a list without ``include_all=true`` omits it.
    """

    id: str
    name: str = "kb"
    technique: Literal["high_quality", "economy"] | None = "economy"
    embedding_model: str | None = None
    embedding_model_provider: str | None = None
    pipeline: bool = False
    api: bool = True
    private: bool = False
    batches: tuple[BatchPlan, ...] = ()


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """A fault in the answers.

    ``kind`` is one of

    - ``status``: ``status`` with ``body`` and ``headers``; ``json``: ``body`` as JSON with ``status`` (200 when 0)
    - ``html``: a page with ``status``; ``empty``: 200 without a body; ``redirect``: 302 to ``location``
    - ``delay``: ``seconds`` late; ``drip``: one byte every ``seconds``
    - ``cut``: the connection ends at ``where``; ``truncated``: half of the JSON, with a matching length
    - ``huge``: ``size`` bytes, streamed; ``gzip_bomb``: ``size`` bytes, compressed; ``length``: ``size`` announced
    - ``interim``: ``status`` (103 when 0) as an interim response before the answer
    - ``field``: the value of each field named ``field`` is replaced by the JSON ``body``
    - ``plugin_down``: 400 for datasets, as while Redis does not hold the providers, which it does for 24 h;
      ``postgres_down``: 500; ``redis_down``: answers come 30 s late, for datasets 500 after 45 s (times ``seconds``)

    ``endpoint``: indexing-status, document, documents, segments, datasets, dataset, health or * for all. ``id``: only
    answers about that dataset, batch or document. ``times``: the number of answers affected. ``begins``, ``ends``: the
    period in which the fault is active, in seconds from the start of the world.
    """

    kind: FaultKind
    endpoint: str = "*"
    id: str = ""
    status: int = 0
    body: str = ""
    headers: dict[str, str] = {}
    location: str = "http://redirected.invalid/"
    seconds: float = 1.0
    where: Literal["before", "headers", "body"] = "before"
    field: str = ""
    size: int = 0
    times: int | None = None
    begins: float = 0.0
    ends: float | None = None


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole server. ``workers``: tasks that run concurrently; None: no limit; 0: the worker is down.

    ``zone_offset``: hours by which the time zone of the API process is east of UTC; its times are too small by that
    much.
    """

    name: str = "demo"
    key: str = "dataset-simulatordemo"
    version: str = "1.12.1"
    workers: int | None = 1
    zone_offset: float = 0.0
    datasets: tuple[DatasetPlan, ...] = ()
    faults: tuple[Fault, ...] = ()


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a YAML (or JSON) file or pipe. Raises ``ScenarioError``."""
    try:
        return msgspec.convert(yaml.safe_load(read_text(path, pipe=True)), Scenario)
    except (yaml.YAMLError, msgspec.ValidationError, Invalid) as error:
        raise ScenarioError(f"{path}: {error}") from error
