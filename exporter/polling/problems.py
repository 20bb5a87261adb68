"""Why the last poll of each failing target failed, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.dify import Forbidden, NotFound
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.dify import DifyError
    from exporter.tracking.model import Document


class Problem(NamedTuple):
    """``reason``: as in the metrics; ``text``: the error message."""

    reason: str
    text: str


class Problems:
    """The current poll failures of one server."""

    def __init__(self) -> None:
        self._found: dict[Target, Problem] = {}

    def note(self, target: Target, error: DifyError) -> None:
        """Record that the last poll of ``target`` failed."""
        self._found[target] = Problem(error.reason, str(error))

    def forget(self, target: Target) -> None:
        """Clear the failure of ``target``: it was polled successfully, or is no longer polled."""
        self._found.pop(target, None)

    def of(self, target: Target) -> Problem | None:
        """The failure of ``target`` itself, if any."""
        return self._found.get(target)

    def of_dataset(self, dataset_id: str) -> Problem | None:
        """Why nothing in a dataset can be polled: access to it was denied."""
        problems = (problem for target, problem in list(self._found.items()) if target.dataset_id == dataset_id)
        return next((problem for problem in problems if problem.reason == Forbidden.reason), None)

    def without_detail(self, documents: Iterable[Document]) -> list[Problem | None]:
        """For each document without a detail, why it could not be fetched; None if unknown.

        Documents that were not found are left out. A server without document details therefore causes no failures.
        """
        found = [
            self.of(Target("detail", document.dataset_id, document.document_id))
            for document in documents
            if document.detail is None
        ]
        return [problem for problem in found if problem is None or problem.reason != NotFound.reason]

    def reasons(self) -> set[str]:
        """The reasons of all current failures."""
        return {problem.reason for problem in list(self._found.values())}
