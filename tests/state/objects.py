"""Objects to save, simple and arbitrary ones, and helpers that check what the state file does with them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.dify.answers import LARGEST, LAST_SECOND
from exporter.state import StateFile
from exporter.state.rows import SavedObject, key_of
from exporter.tracking.counters import PHASE_BOUNDS, new_counters
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Attempt,
    Batch,
    DatasetCounters,
    Detail,
    Distribution,
    Document,
    Milestone,
    ProcessRule,
    Progress,
)
from tests.polling.fake_server import DATASET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from exporter.state.rows import Key
    from exporter.tracking import SavedObjects

BATCH = "20261121173517669864"


def a_document(
    number: int = 0, completed: int = 0, *, server: str = "main", clock: ManualClock | None = None
) -> Document:
    """A document with status indexing that made progress just now."""
    progress = Progress("indexing", 1_795_282_000, completed_segments=completed, total_segments=20)
    document = Document(server, DATASET, f"c23d659c-{number:04}", BATCH, progress, Detail(name="a.txt"))
    return (
        replace(document, last_progress=clock.time(), last_progress_monotonic=clock.monotonic()) if clock else document
    )


def a_batch(*documents: Document, server: str = "main") -> Batch:
    """A batch of these documents, all with status indexing."""
    counts = (0, 0, 0, 0, len(documents), 0, 0, 0, 0)
    return Batch(server, DATASET, BATCH, tuple(document.document_id for document in documents), counts)


def some_counters(restarted: int = 0, *, server: str = "main") -> DatasetCounters:
    """Counters with this number of restarted documents."""
    return replace(new_counters(server, DATASET), restarted=restarted)


def without_process_values(saved: SavedObject) -> SavedObject:
    """The object without the values that do not survive a restart."""
    match saved:
        case Document():
            return replace(saved, last_progress_monotonic=0.0)
        case Batch():
            return replace(saved, last_progress_monotonic=0.0, milestones=())
    return saved


def by_key(restored: SavedObjects | Iterable[SavedObject]) -> dict[Key, SavedObject]:
    """The restored objects by key, comparable to the recorded ones."""
    found: list[SavedObject] = []
    for part in restored:
        found += part if isinstance(part, list | tuple) else [part]
    keyed = {key_of(saved): without_process_values(saved) for saved in found}
    assert len(found) == len(keyed)
    return keyed


def open_state(path: Path, clock: ManualClock | None = None) -> StateFile:
    """An open state on that file."""
    state = StateFile(path, clock or ManualClock())
    state.open()
    return state


def fill_file(path: Path) -> list[Document]:
    """Save some objects in a new state file. Returns them."""
    documents = [a_document(number) for number in range(20)]
    state = open_state(path)
    state.changed([(None, document) for document in documents], durable=False)
    state.close()
    return documents


def continues_without_saving(state: StateFile) -> None:
    """Changes are accepted although they cannot be saved, and nothing more is logged about it."""
    with capture_logs() as log:
        state.changed([(None, a_document(100))], durable=True)
        assert not state.save()
        assert not state.save()
        assert not state.claim([])
    assert [] == log
    assert (None, False) == (state.last_save, state.last_save_successful)
    assert by_key([a_document(100)]).items() <= by_key(state.restore("main")).items()


def saves_again(state: StateFile, path: Path) -> None:
    """Saving succeeds and logs that once; all waiting changes are in the file."""
    with capture_logs() as log:
        assert state.save()
        assert state.save()
    assert [("info", "state is saved again")] == [(line["log_level"], line["event"]) for line in log]
    assert state.last_save is not None
    assert state.last_save_successful
    state.close()
    state = open_state(path)
    assert by_key([a_document(100)]).items() <= by_key(state.restore("main")).items()
    state.close()


@contextmanager
def logs_once(level: str, *words: str) -> Iterator[None]:
    """Expects exactly one log line, of that level and containing these words."""
    with capture_logs() as log:
        yield
    assert [level] == [line["log_level"] for line in log]
    for word in words:
        assert word in str(log[0])


def count_rows(path: Path) -> int:
    """Number of rows in the file. No state may have the file open."""
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM tracked").fetchone()
        assert isinstance(count, int)
        return count


_API_TIMES = st.none() | st.floats(0, LAST_SECOND, exclude_min=True) | st.integers(1, LAST_SECOND)
_NUMBERS = st.none() | st.integers(0, LARGEST) | st.floats(0, LARGEST)
_COUNTS = st.integers(0, 2**40)
_WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
_IDS = st.sampled_from(("", "1", "2", "ü\x00'\"", BATCH)) | _WORDS
_SERVERS = st.sampled_from(("main", "other"))

progresses = st.builds(
    Progress,
    st.sampled_from(STATUSES),
    *[_API_TIMES] * 7,
    completed_segments=_NUMBERS,
    total_segments=_NUMBERS,
    has_error=st.booleans(),
)
rules = st.builds(ProcessRule, _WORDS, _WORDS, _WORDS, _NUMBERS, _NUMBERS, _NUMBERS)
details = st.builds(
    Detail,
    *[_WORDS] * 5,
    st.none() | st.sampled_from(DISPLAY_STATUSES),
    *[_API_TIMES] * 3,
    *[_NUMBERS] * 6,
    *[st.none() | st.booleans()] * 2,
    st.booleans(),
    st.none() | rules,
)
documents = st.builds(
    Document,
    _SERVERS,
    _IDS,
    _IDS,
    _IDS,
    progresses,
    st.none() | details,
    st.floats(0, 4e9),
    st.floats(0, 1e6),
    st.booleans(),
    st.builds(Attempt, st.none() | progresses, st.booleans(), st.none() | st.floats(0, 1e10)),
)
batches = st.builds(
    Batch,
    _SERVERS,
    _IDS,
    _IDS,
    st.lists(_IDS, max_size=4).map(tuple),
    st.tuples(*[_COUNTS] * len(STATUSES)),
    _NUMBERS,
    _NUMBERS,
    st.floats(0, 4e9),
    st.floats(0, 1e6),
    st.booleans(),
    st.none() | st.floats(0, 4e9),
    st.lists(st.builds(Milestone, st.floats(0, 1e6), _COUNTS, _COUNTS), max_size=2).map(tuple),
)
distributions = st.builds(Distribution, st.tuples(*[_COUNTS] * (len(PHASE_BOUNDS) + 1)), st.floats(0, 1e12))
counters = st.builds(
    DatasetCounters,
    _SERVERS,
    _IDS,
    st.lists(st.tuples(st.tuples(_WORDS, _WORDS), _COUNTS), max_size=3).map(tuple),
    _COUNTS,
    st.lists(st.tuples(_WORDS, distributions), max_size=3).map(tuple),
)
saved_objects = documents | batches | counters
