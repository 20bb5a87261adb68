"""Lets the whole exporter poll inputs: decoding, progress, objects, log and page."""

from __future__ import annotations

import io
import re
import threading
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any, Final
from unittest import mock

from prometheus_client.parser import text_string_to_metric_families

from bench.fuzz.canned import BATCH, DATASET, DOCUMENT, KEY, SERVER, CannedClient, check, field_names, recordings, seeds
from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Polling
from exporter.daemon.app import App
from exporter.daemon.logs import set_up_logging
from exporter.metrics import Format
from exporter.polling import DATASET_LIST, Target, configured_targets

SEPARATOR: Final = b"\n--\n"
ENDPOINTS: Final = ("indexing-status", "document", "documents", "segments", "dataset", "datasets")
"""The parts of an input in this order; an endpoint without a part gets the first."""

MOST_REQUESTS: Final = 60
"""Requests that are answered for one input."""

_PASSED: Final = 700.0
"""Seconds between two inputs: longer than any backoff, so that no input keeps the next one from being polled."""

_POLLING: Final = Polling(
    interval=100.0,
    max_interval=100.0,
    settled_interval=1e9,
    max_settled_interval=1e9,
    detail_interval=1e9,
    discovery_interval=1e9,
)

PARSED_EVERY: Final = 40
"""One page in this many is also parsed with the library's parser."""

_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_LINE = re.compile(
    rf"# (?:HELP|TYPE|UNIT) .*|# EOF|[a-z_]+(?:\{{(?:{_LABEL},?)*\}})? (?:-?[0-9.]+(?:e[+-]?[0-9]+)?|\+Inf)|"
)


class Poll:
    """Serves the parts of an input from the endpoints, polls everything once and checks what is exposed."""

    separator = SEPARATOR

    def __init__(self) -> None:
        recorded = {name: each.body for name, each in recordings().items() if each.status == 200 and each.body}
        batches = [body for name, body in recorded.items() if name.startswith("indexing-status")]
        details = [body for name, body in recorded.items() if name.startswith("document--")]
        lists = [body for name, body in recorded.items() if name.startswith("documents") and len(body) < 4_096]
        others = b'{"total": 3, "data": []}', b'{"id": "%s", "name": "kb"}' % DATASET.encode()
        self.seeds = seeds("poll")
        for number, batch in enumerate(each for each in batches if len(each) < 8_192):
            detail = details[number % len(details)]
            documents = lists[number % len(lists)] if lists else others[0]
            self.seeds.append(SEPARATOR.join((batch, detail, documents, *others, b'{"data": [], "total": 0}')))
        self.words = (DOCUMENT.encode(), SEPARATOR, *field_names())
        self._log = io.StringIO()
        self._began = 0
        self._clock = ManualClock()
        server = replace(
            SERVER, discover=True, datasets=(DatasetConfig(DATASET, batches=(BATCH,), documents=(DOCUMENT,)),)
        )
        app = App(Config(servers=(server,), polling=_POLLING), clock=self._clock)
        self._exposition = app.exposition
        self._poller = app.monitors[0].poller
        self._client = CannedClient({"*": b"{}"})
        self._poller.reconfigure(server, self._client, _POLLING)
        self._targets = [*configured_targets(server), Target(DATASET_LIST, "", "")]
        self._poller.watch(configured_targets(server))
        self._patch = mock.patch.object(app.self_metrics, "poll_failed", self._poll_failed)
        self._patch.start()
        with redirect_stderr(self._log):
            set_up_logging("debug", "logfmt")
        self._stop = threading.Event()
        self._pages = 0
        self._read: set[str] = set()
        self._reasons: list[str] = []

    def take(self, data: bytes) -> str:
        """Poll the input."""
        parts = data.split(SEPARATOR)
        self._client.answers = {"*": parts[0], **dict(zip(ENDPOINTS, parts, strict=False))}
        self._client.remaining = MOST_REQUESTS
        self._reasons.clear()
        self._clock.advance(_PASSED)
        for target in self._targets:
            self._poller.schedule.put(target, 0.0)
        self._poller.work(self._stop)
        check(self._client.remaining < MOST_REQUESTS, "nothing was polled")
        log = self._log.getvalue()
        self._log.seek(0)
        self._log.truncate()
        check("internal" not in self._reasons, log)
        # The inputs do not contain the key, so only the exporter could have logged it.
        check(KEY not in log, "the key is logged")
        for line in log.splitlines():
            check(line.startswith("ts="), f"a log line that the exporter did not write: {line[:200]!r}")
        return " ".join((*sorted(set(self._reasons)), self._look_at_page(), *_messages(log)))

    def close(self) -> None:
        """Restore the exporter."""
        self._patch.stop()

    def _poll_failed(self, _server: str, _kind: Any, reason: str) -> None:
        self._reasons.append(reason)

    def _look_at_page(self) -> str:
        text = b"".join(self._exposition.page(Format.TEXT).plain_chunks()).decode()
        lines = set(text.split("\n"))
        for line in lines - self._read:
            check(_LINE.fullmatch(line) is not None, f"an invalid line on the page: {line[:300]!r}")
        self._read = lines
        names = {line.partition("{")[0].partition(" ")[0] for line in lines}
        self._pages += 1
        if self._pages % PARSED_EVERY == 1:
            parsed = {family.name: family for family in text_string_to_metric_families(text)}
            check(len(parsed) > 20, "most of the page is missing")
        return f"{len(names)}"


def _messages(log: str) -> list[str]:
    return sorted(set(re.findall(r'msg=("[^"]*"|\S+)', log)))
