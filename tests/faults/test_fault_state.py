"""The state file is unusable: the exporter polls and serves, reports it once, and saves when it can."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from exporter.state.database import open_database
from tests.faults.namespaces import mount_again, own_mounts
from tests.faults.page import MAIN, Page
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.conftest import Launch
    from tests.integration.harness import Program

NOT_SAVED = "state cannot be saved"


@dataclass(frozen=True)
class Disk:
    """A disk fault. ``mount``: the command that causes it ("": none); ``mend``: ends it."""

    name: str
    mount: str
    advice: str
    mend: Callable[[Program, Path], None]


def _free(program: Program, folder: Path) -> None:
    (folder.__class__(f"/proc/{program.process.pid}/root") / folder.relative_to("/") / "filler").unlink()


def _writable(program: Program, folder: Path) -> None:
    mount_again(program.process.pid, "rw", str(folder))


DISKS = (
    Disk(
        "full", "mount -t tmpfs -o size=64k tmpfs {0} && head -c 61440 /dev/zero >{0}/filler", "free some space", _free
    ),
    Disk("read-only", "mount -t tmpfs -o ro tmpfs {0}", "give the exporter's user write access", _writable),
)


@pytest.mark.needs("unshare", "nsenter")
@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: disk.name)
def test_a_disk_that_takes_nothing(launch: Launch, tmp_path: Path, disk: Disk) -> None:
    """Full or read-only: one log line with the remedy, polling continues; once the disk is writable, all is saved."""
    folder = tmp_path / "disk"
    folder.mkdir()
    program = launch(*own_mounts(disk.mount.format(folder)), state={"path": str(folder / "state.db")})
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN), why=lambda: program.log)
    _goes_on(program, port, disk.advice)
    disk.mend(program, folder)
    assert 0 == program.stop()
    assert 1 == program.log.count("state is saved again")
    assert 1 == program.log.count(NOT_SAVED)


def test_a_file_that_another_process_holds(launch: Launch, tmp_path: Path) -> None:
    """One warning; once the other process releases the file, everything is saved."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        program = launch(state={"path": str(path)})
        port = program.port()
        until(lambda: Page.of(port).is_known(MAIN), why=lambda: program.log)
        _goes_on(program, port, "another process has locked the file")
    assert 0 == program.stop()
    assert 1 == program.log.count("state is saved again")
    with closing(sqlite3.connect(path)) as saved:
        assert saved.execute("SELECT count(*) FROM tracked").fetchone()[0] > 0


def test_a_file_that_is_damaged(launch: Launch, tmp_path: Path) -> None:
    """The file is renamed with time and reason in its name, and a new one is created."""
    path = tmp_path / "state.db"
    with closing(open_database(path)) as database:
        database.execute("PRAGMA wal_checkpoint")
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(range(256)) * 16)
    program = launch(state={"path": str(path)})
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN), why=lambda: program.log)
    assert 0 == program.stop()
    assert 1 == program.log.count("it was set aside, and an empty one was created")
    assert NOT_SAVED not in program.log
    assert 1 == len(list(tmp_path.glob("state.db.corrupt-*")))
    shutil.rmtree(program.folder)
    again = launch(state={"path": str(path)})
    until(lambda: Page.of(again.port()).is_known(MAIN), why=lambda: again.log)
    assert "set aside" not in again.log


def _goes_on(program: Program, port: int, advice: str) -> None:
    polls = Page.of(port).polls(MAIN)
    until(lambda: Page.of(port).polls(MAIN) >= polls + 2)
    assert 1 == Page.of(port).target("success", MAIN)
    assert 1 == program.log.count(NOT_SAVED), program.log
    assert advice in program.log
