"""The state file in separate processes: killed, competing, on a full disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.state.objects import a_batch, a_document, by_key, open_state, some_counters

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0

PROLOGUE = """
import os, resource, signal, sys
from pathlib import Path
from exporter.clock import SystemClock
from exporter.daemon.logs import set_up_logging
from exporter.state import StateFile
from tests.state.objects import a_batch, a_document, some_counters
set_up_logging("info", "logfmt")
state = StateFile(Path(sys.argv[1]), SystemClock())
state.open()
"""


def process(path: Path, program: str) -> subprocess.Popen[str]:
    """A program with ``state`` open, in its own process."""
    command = [sys.executable, "-c", PROLOGUE + program, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


def test_durable_changes_survive_a_kill(path: Path) -> None:
    """A process killed right after ``changed`` keeps its durable changes; those waiting for ``save`` are lost."""
    program = """
document = a_document(1, completed=20)
state.changed([(None, a_document(2))], durable=False)
state.changed([(None, document), (None, a_batch(document)), (None, some_counters(7))], durable=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = process(path, program)
    _, errors = killed.communicate(timeout=DEADLINE)
    assert -signal.SIGKILL == killed.returncode, errors
    document = a_document(1, completed=20)
    state = open_state(path)
    assert by_key([document, a_batch(document), some_counters(7)]) == by_key(state.restore("main"))
    state.close()


@pytest.mark.parametrize("lines", [1, 23, 150])
def test_counters_are_exact_after_a_kill(path: Path, lines: int) -> None:
    """Killed at any moment, the file contains all events that were shown, and at most one more."""
    program = """
for count in range(1, 1_000_000):
    state.changed([(None, a_document(count % 50, count)), (None, some_counters(count))], durable=True)
    print(count, flush=True)
    state.changed([(None, a_document(50 + count % 50, count))], durable=False)
    if count % 5 == 0:
        state.save()
"""
    running = process(path, program)
    assert running.stdout is not None
    with running:
        for _ in range(lines):
            running.stdout.readline()
        running.kill()
        shown = max([lines, *(int(line) for line in running.stdout.read().split("\n")[:-1])])
    state = open_state(path)
    restored = state.restore("main")
    (counters,) = restored.counters
    assert counters.restarted in (shown, shown + 1)
    latest = [document for document in restored.documents if document.document_id == a_document(shown % 50).document_id]
    assert [shown] == [document.progress.completed_segments for document in latest]
    state.close()


def test_a_second_process_waits_for_the_file(path: Path) -> None:
    """A second process logs the lock once, restores nothing, and takes over when the first one has ended."""
    program = """
print(len(state.restore("main").documents), state.save(), flush=True)
sys.stdin = open(0)
state.changed([(None, a_document(2))], durable=True)
print(state.save(), flush=True)
input()
print(state.save(), flush=True)
state.close()
"""
    first = open_state(path)
    first.changed([(None, a_document(1))], durable=True)
    command = [sys.executable, "-c", PROLOGUE + program, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        assert "0 False\n" == second.stdout.readline()
        assert "False\n" == second.stdout.readline()
        first.close()
        output, errors = second.communicate("\n", timeout=DEADLINE)
    assert "True\n" == output
    assert ["level=warning", "level=info"] == [line.split()[1] for line in errors.splitlines()]
    state = open_state(path)
    assert by_key([a_document(1), a_document(2)]) == by_key(state.restore("main"))
    state.close()


@pytest.mark.parametrize("starts", [1, 2, 3])
def test_a_file_in_use_is_locked_after_every_start(path: Path, starts: int) -> None:
    """The lock holds on a new file and on an existing one: a second process neither reads nor writes the file."""
    first = open_state(path)
    for number in range(1, starts):
        first.changed([(None, a_document(number))], durable=True)
        first.close()
        first = open_state(path)
    first.changed([(None, some_counters(7))], durable=True)

    second = process(path, 'print(state.restore("main").counters, state.save(), flush=True); state.close()')
    output, errors = second.communicate(timeout=DEADLINE)

    assert "() False\n" == output.replace("[]", "()"), errors
    assert "another process has locked the file" in errors
    assert first.save()
    first.close()
    state = open_state(path)
    assert by_key([*map(a_document, range(1, starts)), some_counters(7)]) == by_key(state.restore("main"))
    state.close()


def test_a_full_disk(path: Path) -> None:
    """On a full disk the process continues, logs that once, and saves everything once there is space."""
    program = """
state.changed([(None, a_document(number)) for number in range(10)], durable=True)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, most))
state.changed([(None, a_document(number)) for number in range(1000)], durable=True)
print(state.save(), state.save(), state.last_save)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(state.save(), state.last_save is not None)
state.close()
"""
    full = process(path, program)
    output, errors = full.communicate(timeout=DEADLINE)
    assert "False False None\nTrue True\n" == output
    assert ["level=error", "level=info"] == [line.split()[1] for line in errors.splitlines()]
    state = open_state(path)
    assert by_key(map(a_document, range(1000))) == by_key(state.restore("main"))
    state.close()
