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
from tests.state.saved_objects import a_batch, a_document, an_activity, by_key, kept_objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.state.rows import Kept, Key

KEPT: list[Kept] = [*(a_document(number) for number in range(60)), a_batch(*map(a_document, range(60))), an_activity(2)]


def opened(folder: str) -> StateFile:
    """An open state in that folder."""
    state = StateFile(Path(folder) / "state.db", ManualClock())
    state.open()
    return state


@cache
def whole() -> dict[str, bytes]:
    """The files of a state with many objects, partly in the database, partly still in SQLite's log."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copy:
        state = opened(folder)
        state.changed([(None, kept) for kept in KEPT[::2]], durable=False)
        state.save()
        state.changed([(None, kept) for kept in KEPT[1::2]], durable=True)
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        state.close()
        return {file.name: file.read_bytes() for file in Path(copy).iterdir()}


@cache
def closed() -> bytes:
    """The file of a closed state: without a log."""
    with tempfile.TemporaryDirectory() as folder:
        state = opened(folder)
        state.changed([(None, kept) for kept in KEPT], durable=False)
        state.close()
        return (Path(folder) / "state.db").read_bytes()


@settings(max_examples=100)
@given(kept=st.lists(kept_objects, max_size=6), gone=st.sets(st.integers(0, 5)), durable=st.booleans())
def test_what_is_recalled_is_what_was_noted(kept: list[Kept], gone: set[int], durable: bool) -> None:
    """Every object comes back as it was noted last, but for what means something to the old process alone."""
    expected = by_key({key_of(one): one for one in kept}.values())
    with tempfile.TemporaryDirectory() as folder:
        state = opened(folder)
        state.changed([(None, one) for one in kept], durable=durable)
        for one in (kept[position] for position in gone if position < len(kept)):
            state.changed([(one, None)], durable=False)
            expected.pop(key_of(one), None)
        state.close()
        state = opened(folder)
        found = by_key(state.restore("main")) | by_key(state.restore("other"))
        state.close()
    assert expected == found


def test_the_log_is_part_of_the_state() -> None:
    """Undamaged, the files that the next test damages contain everything."""
    assert {"state.db", "state.db-wal"} == set(whole())
    assert by_key(KEPT) == recalled(whole())


@settings(max_examples=120)
@given(data=st.data())
def test_damage_anywhere_is_survived_and_never_believed(data: st.DataObject) -> None:
    """With any bytes damaged, opening and recalling raise nothing and invent nothing, and saving works."""
    files = {name: bytearray(content) for name, content in whole().items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=6)):
        position = data.draw(st.integers(0, len(files[name]) - 1) | st.integers(0, 120))
        files[name][position] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(files)))
        del files[name][data.draw(st.integers(0, len(files[name]))) :]
    assert recalled({name: bytes(content) for name, content in files.items()}).items() <= by_key(KEPT).items()


@pytest.mark.parametrize("word", [b"tracked", b"CREATE", b"checksum", b"tabletracked"])
@pytest.mark.parametrize("logged", [True, False])
def test_a_schema_that_is_no_text_is_damage(word: bytes, logged: bool) -> None:
    """A schema that is not valid UTF-8 counts as damage: SQLite quotes it, and Python cannot decode the message."""
    files = dict(whole()) if logged else {"state.db": closed()}
    for name, content in files.items():
        files[name] = content.replace(word, word[:-1] + bytes((word[-1] | 0x80,)))
    assert files != whole()
    assert recalled(files).items() <= by_key(KEPT).items()


def recalled(files: Mapping[str, bytes]) -> dict[Key, Kept]:
    """The objects recalled from these files. Checks that new objects are saved."""
    with tempfile.TemporaryDirectory() as folder, capture_logs():
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        state = opened(folder)
        found = by_key(state.restore("main"))
        state.changed([(None, an_activity(7, server="new"))], durable=True)
        assert state.save()
        state.close()
        state = opened(folder)
        assert by_key([an_activity(7, server="new")]) == by_key(state.restore("new"))
        state.close()
    return found
