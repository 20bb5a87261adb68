"""What the metrics page and the log report about one server of the fault tests."""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.simulator.documents import stable_id
from tests.integration.harness import get

MAIN = "main"
"""The server in tests that watch only one."""

_FAILURES = re.compile(r'dify_exporter_poll_failures_total\{kind="\w+",reason="(\w+)"')
_LINE = re.compile(r'^(dify_\w+\{.*?\bserver="([^"]+)".*\}) (\S+)$', re.MULTILINE)


def dataset(server: str) -> str:
    """The id of the knowledge base that a row watches."""
    return stable_id(server)


def batches(server: str) -> tuple[str, str]:
    """The ids of the two batches that a row watches: the first is affected by faults, the second is not."""
    return f"{server}-first", f"{server}-second"


def document(server: str) -> str:
    """The id of the document in the first batch of a row."""
    return stable_id(f"{server} document")


class Page:
    """A metrics page: values by server and series."""

    def __init__(self, text: str = "") -> None:
        self._servers: dict[str, dict[str, float]] = {}
        for series, server, value in _LINE.findall(text):
            self._servers.setdefault(server, {})[series] = float(value)

    @classmethod
    def of(cls, port: int) -> Page:
        """The current page."""
        return cls(get(port, "/metrics").body.decode())

    def server(self, server: str) -> dict[str, float]:
        """All series of a server."""
        return self._servers.get(server, {})

    def target(self, name: str, server: str, number: int = 0) -> float | None:
        """A ``dify_exporter_target_…`` value of a server's first batch, or of batch ``number``."""
        batch = batches(server)[number]
        labels = f'server="{server}",kind="batch",dataset_id="{dataset(server)}",target="{batch}"'
        return self.server(server).get(f"dify_exporter_target_{name}{{{labels}}}")

    def is_known(self, server: str) -> bool:
        """Whether both batches of a server were polled successfully and its document has its detail."""
        detail = f'dify_document_created_timestamp_seconds{{server="{server}",dataset_id="{dataset(server)}"'
        known = f'{detail},document_id="{document(server)}"}}' in self.server(server)
        return known and all(self.target("success", server, number) == 1 for number in (0, 1))

    def read_after(self, server: str, when: float) -> bool:
        """Whether the first batch of a server was polled successfully after ``when``."""
        last = self.target("last_success_timestamp_seconds", server)
        return self.target("success", server) == 1 and last is not None and last > when

    def polls(self, server: str) -> float:
        """The number of polls of batches."""
        return self.server(server).get(f'dify_exporter_polls_total{{kind="batch",server="{server}"}}', 0.0)

    def failures(self, server: str) -> dict[str, float]:
        """The failed polls of a server by reason, without zeros."""
        found: dict[str, float] = {}
        for series, value in self.server(server).items():
            about = _FAILURES.match(series)
            if about and value:
                found[about[1]] = found.get(about[1], 0.0) + value
        return found

    def of_batch(self, server: str) -> dict[str, float]:
        """The series of a server's first batch and of its document, without the exporter's own."""
        batch, found = f'batch="{batches(server)[0]}"', f'document_id="{document(server)}"'
        return {
            series: value
            for series, value in self.server(server).items()
            if series.startswith(("dify_batch_", "dify_document_")) and (batch in series or found in series)
        }


class Line(NamedTuple):
    """A log line about a change of state; ``target`` is "" if it concerns a whole server."""

    message: str
    target: str


def lines(log: str, server: str) -> list[Line]:
    """The log lines about a server, in order."""
    about = re.compile(rf'msg="([^"]+)".* server={re.escape(server)}(?: kind=\w+ dataset_id=\S+ target=(\S+))?(?: |$)')
    return [Line(*found.groups("")) for text in log.splitlines() if (found := about.search(text))]
