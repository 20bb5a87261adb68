"""The state file with arbitrary objects and arbitrary damage."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.state import StateFile
from exporter.state.rows import key_of
from tests.state.objects import a_batch, a_document, by_key, saved_objects, some_counters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.state.rows import Key, SavedObject

OBJECTS: list[SavedObject] = [
    *(a_document(number) for number in range(60)),
    a_batch(*map(a_document, range(60))),
    some_counters(2),
]


def open_state(folder: str) -> StateFile:
    """An open state in that folder."""
    state = StateFile(Path(folder) / "state.db", ManualClock())
    state.open()
    return state


@cache
def files_with_log() -> dict[str, bytes]:
    """The files of a state with many objects, partly in the database, partly still in SQLite's log."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copy:
        state = open_state(folder)
        state.changed([(None, saved) for saved in OBJECTS[::2]], durable=False)
        state.save()
        state.changed([(None, saved) for saved in OBJECTS[1::2]], durable=True)
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        state.close()
        return {file.name: file.read_bytes() for file in Path(copy).iterdir()}


@cache
def file_without_log() -> bytes:
    """The file of a closed state: without a log."""
    with tempfile.TemporaryDirectory() as folder:
        state = open_state(folder)
        state.changed([(None, saved) for saved in OBJECTS], durable=False)
        state.close()
        return (Path(folder) / "state.db").read_bytes()


@settings(max_examples=100)
@given(recorded=st.lists(saved_objects, max_size=6), removed=st.sets(st.integers(0, 5)), durable=st.booleans())
def test_restored_objects_equal_the_recorded_ones(
    recorded: list[SavedObject], removed: set[int], durable: bool
) -> None:
    """Every object is restored as it was recorded last, except values that only make sense in the old process."""
    expected = by_key({key_of(one): one for one in recorded}.values())
    with tempfile.TemporaryDirectory() as folder:
        state = open_state(folder)
        state.changed([(None, one) for one in recorded], durable=durable)
        for one in (recorded[position] for position in removed if position < len(recorded)):
            state.changed([(one, None)], durable=False)
            expected.pop(key_of(one), None)
        state.close()
        state = open_state(folder)
        found = by_key(state.restore("main")) | by_key(state.restore("other"))
        state.close()
    assert expected == found


def test_the_log_is_read() -> None:
    """Undamaged, the files that the next test damages contain everything."""
    assert {"state.db", "state.db-wal"} == set(files_with_log())
    assert by_key(OBJECTS) == read_objects(files_with_log())


@settings(max_examples=120)
@given(data=st.data())
def test_any_damage_is_detected(data: st.DataObject) -> None:
    """With any bytes damaged, opening and restoring raise nothing and invent nothing.

    Saving works, unless the file no longer begins as a state file: then nothing in the folder changes.
    """
    files = {name: bytearray(content) for name, content in files_with_log().items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=6)):
        position = data.draw(st.integers(0, len(files[name]) - 1) | st.integers(0, 120))
        files[name][position] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(files)))
        del files[name][data.draw(st.integers(0, len(files[name]))) :]
    assert read_objects({name: bytes(content) for name, content in files.items()}).items() <= by_key(OBJECTS).items()


@pytest.mark.parametrize("word", [b"tracked", b"CREATE", b"checksum", b"tabletracked"])
@pytest.mark.parametrize("logged", [True, False])
def test_a_schema_that_is_not_utf8_is_damage(word: bytes, logged: bool) -> None:
    """A schema that is not valid UTF-8 counts as damage: SQLite quotes it, and Python cannot decode the message."""
    files = dict(files_with_log()) if logged else {"state.db": file_without_log()}
    for name, content in files.items():
        files[name] = content.replace(word, word[:-1] + bytes((word[-1] | 0x80,)))
    assert files != files_with_log()
    assert read_objects(files).items() <= by_key(OBJECTS).items()


def read_objects(files: Mapping[str, bytes]) -> dict[Key, SavedObject]:
    """The objects restored from these files. Checks that new objects are saved, or that the files stay as they are."""
    with tempfile.TemporaryDirectory() as folder, capture_logs() as log:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        state = open_state(folder)
        found = by_key(state.restore("main"))
        state.changed([(None, some_counters(7, server="new"))], durable=True)
        if any("is not a state file" in line["event"] for line in log):
            assert not state.save()
            assert files == {file.name: file.read_bytes() for file in Path(folder).iterdir()}
            return found
        assert state.save()
        state.close()
        state = open_state(folder)
        assert by_key([some_counters(7, server="new")]) == by_key(state.restore("new"))
        state.close()
    return found
