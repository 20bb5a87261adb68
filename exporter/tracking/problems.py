"""Why targets were not read the last time, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.dify import Forbidden, NotFound
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.dify import DifyError
    from exporter.tracking.model import Document


class Problem(NamedTuple):
    """The reason as metrics have it, and the words of it."""

    reason: str
    text: str


class Problems:
    """What is known against the targets of one server."""

    def __init__(self) -> None:
        self._found: dict[Target, Problem] = {}

    def note(self, target: Target, error: DifyError) -> None:
        """The last poll of ``target`` failed."""
        self._found[target] = Problem(error.reason, str(error))

    def forget(self, target: Target) -> None:
        """It was read, or is left."""
        self._found.pop(target, None)

    def of(self, target: Target) -> Problem | None:
        """What is known against ``target`` itself."""
        return self._found.get(target)

    def of_dataset(self, dataset_id: str) -> Problem | None:
        """Why nothing in a knowledge base is read: it was refused."""
        problems = (problem for target, problem in list(self._found.items()) if target.dataset_id == dataset_id)
        return next((problem for problem in problems if problem.reason == Forbidden.reason), None)

    def without_detail(self, documents: Iterable[Document]) -> list[Problem | None]:
        """For each document whose detail was not read: why, where that is known.

        One that does not exist (any more) is none of them, so no document of a server that has no details.
        """
        found = [
            self.of(Target("detail", document.dataset_id, document.document_id))
            for document in documents
            if document.detail is None
        ]
        return [problem for problem in found if problem is None or problem.reason != NotFound.reason]

    def reasons(self) -> set[str]:
        """All reasons that there are."""
        return {problem.reason for problem in list(self._found.values())}
