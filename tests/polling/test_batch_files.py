"""Batch files: when they are read, and what stays in effect when they cannot be read."""

from __future__ import annotations

import glob
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.polling import batch_files
from exporter.polling.batch_files import MAX_WAIT, REST, BatchFiles, BatchRef
from exporter.yamlconf import file_access, read_text
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A = "501756ed-cffa-44bb-b992-713f60113872"
B = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
CHECK_INTERVAL = 5.0
CASES = Path(__file__).parents[1] / "cases" / "batch-lists"


BROKEN = {
    "bracket.yaml": "bracket.yaml:1: is not valid YAML: did not find expected node content while parsing a flow node",
    "empty.yaml": "empty.yaml: is empty: write [] for no batches, write a new file and rename it over the old one",
    "float.yaml": "float.yaml:2: [0].batch: '2.02e+19' is a number with an exponent, whose last digits may be lost",
    "lines.jsonl": "lines.jsonl:2: is not valid YAML: did not find expected <document start>; put several",
    "upload-answer.json": "upload-answer.json: is Dify's answer to an upload: add dataset_id, which it does not",
    "utf16.yaml": "utf16.yaml: is UTF-16: save it as UTF-8 (in PowerShell: Out-File",
}
"""Lists as programs wrote them, and the beginning of the message."""


class Folder:
    """Batch files with modification times from a manually advanced clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.files = BatchFiles([path / "*.yaml", f"{path}/*.json"], clock=self.clock)

    def write(self, name: str, *batches: str, text: str | bytes | None = None, age: float = 60.0) -> Path:
        """Write a list of batches of A, or ``text``, ``age`` seconds ago."""
        file = self.path / name
        content = json.dumps([{"dataset_id": A, "batch": batch} for batch in batches]) if text is None else text
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        written = self.clock.time() - age
        os.utime(file, (written, written))
        return file

    def check(self) -> list[str] | None:
        """The batches after another five seconds, if they differ."""
        self.clock.advance(CHECK_INTERVAL)
        found = self.files.update()
        return None if found is None else [ref.batch for ref in found]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder that has not been checked yet."""
    return Folder(tmp_path)


def test_a_batch_in_two_files_counts_once(folder: Folder) -> None:
    """A batch listed by two files is polled once."""
    folder.write("b.yaml", "1", "2", "1")
    folder.write("a.json", "3", "2")
    folder.write("c.txt", "4")
    assert [BatchRef(A, "3"), BatchRef(A, "2"), BatchRef(A, "1")] == folder.files.update()
    assert {} == folder.files.problems


def test_equal_batch_ids_of_two_datasets_are_two_batches(folder: Folder) -> None:
    """Batch ids consist of a time and digits: they are not unique across datasets."""
    folder.write("a.yaml", text=f"[{{dataset_id: {A}, batch: x}}, {{dataset_id: {B}, batch: x}}]")
    assert [BatchRef(A, "x"), BatchRef(B, "x")] == folder.files.update()


def test_without_files_there_are_no_batches(folder: Folder) -> None:
    """The first check reports an empty list, to clear an earlier configuration; later checks report no change."""
    assert [] == folder.check()
    assert folder.check() is None


def test_an_unchanged_file_is_not_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking an unchanged file costs one stat."""
    folder.write("a.yaml", "1")
    folder.check()
    monkeypatch.setattr(batch_files, "read_text", lambda _path: pytest.fail("read again"))
    assert folder.check() is None


def test_a_stable_change_takes_effect_at_once(folder: Folder) -> None:
    """A stable change takes effect at the next check, within five seconds."""
    folder.write("a.yaml", "1")
    assert ["1"] == folder.check()
    folder.write("a.yaml", "1", "2")
    folder.write("b.yaml", "3")
    assert ["1", "2", "3"] == folder.check()


def test_a_change_of_the_text_alone_is_not_reported(folder: Folder) -> None:
    """A new comment or another order of keys does not change the batches."""
    folder.write("a.yaml", "1")
    folder.check()
    folder.write("a.yaml", text=f"# new\n- {{batch: '1', dataset_id: {A}}}\n")
    assert folder.check() is None


def test_a_fresh_change_takes_effect_at_the_next_check(folder: Folder) -> None:
    """A fresh change waits: half of a list can be valid; ten seconds are enough for a whole one."""
    folder.write("a.yaml", "1", "2")
    folder.check()
    folder.write("a.yaml", "1", age=-CHECK_INTERVAL)
    folder.write("b.yaml", "3", age=-CHECK_INTERVAL)
    assert folder.check() is None
    folder.write("a.yaml", "1", "2", "4", age=REST - CHECK_INTERVAL)
    assert ["1", "2", "4", "3"] == folder.check()


def test_a_file_that_is_written_continuously_is_read(folder: Folder) -> None:
    """A file that is rewritten every second is never stable, and takes effect at the second check."""
    folder.write("a.yaml", "1")
    folder.check()
    folder.write("a.yaml", "2", age=-CHECK_INTERVAL)
    assert folder.check() is None
    folder.write("a.yaml", "3", age=-CHECK_INTERVAL)
    assert ["3"] == folder.check()


def test_modification_times_of_another_clock_do_not_matter(folder: Folder) -> None:
    """On a file server whose clock is a day ahead, files never seem stable, and take effect at the second check."""
    folder.check()
    folder.write("a.yaml", "1", age=-86_400.0)
    assert folder.check() is None
    assert CHECK_INTERVAL > MAX_WAIT
    assert ["1"] == folder.check()


def test_the_first_check_accepts_fresh_files(folder: Folder) -> None:
    """The first check accepts fresh files: a program may write its list right before it starts the exporter."""
    folder.write("a.yaml", "1", age=-CHECK_INTERVAL)
    assert ["1"] == folder.check()


def test_the_batches_of_a_removed_file_are_removed(folder: Folder) -> None:
    """A removal takes effect at the second check: a program may remove a file before it writes the new one."""
    folder.write("a.yaml", "1", "2")
    file = folder.write("b.yaml", "2", "3")
    folder.check()
    file.unlink()
    assert folder.check() is None
    assert ["1", "2"] == folder.check()


def test_a_file_that_is_missing_for_a_moment_is_unchanged(folder: Folder) -> None:
    """A file missing at one check and back at the next, with the same batches, is no change."""
    file = folder.write("a.yaml", "1")
    folder.check()
    file.unlink()
    assert folder.check() is None
    folder.write("a.yaml", "1")
    assert folder.check() is None
    file.unlink()
    assert folder.check() is None
    assert [] == folder.check()


def test_a_file_replaced_by_renaming_is_read(folder: Folder) -> None:
    """A file replaced by renaming is read, even if its modification time is older."""
    folder.write("a.yaml", "1")
    folder.check()
    folder.write("new", "2", age=65.0).rename(folder.path / "a.yaml")
    assert ["2"] == folder.check()


def test_a_change_with_an_unchanged_mtime_is_detected(folder: Folder) -> None:
    """A change with the same mtime, size and inode is detected by its ctime."""
    file = folder.write("a.yaml", "1")
    folder.check()
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_text(file.read_text().replace("1", "1"))
    file.write_text(file.read_text().replace('"1"', '"2"'))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ["2"] == folder.check()


def test_an_invalid_file_changes_nothing_and_is_logged_once(folder: Folder) -> None:
    """An invalid file keeps its batches, is logged once, and stays in ``problems`` until it is valid again."""
    folder.write("a.yaml", "1")
    file = folder.write("b.yaml", "2")
    folder.check()
    folder.write("b.yaml", text=f"- dataset_id: {A}\n  batch: 12\n- x\n- y\n")
    expected = f"{file}:2: [0].batch: '12' is a number in YAML: put it in quotes (and 2 more)"
    with capture_logs() as logs:
        assert [None, None, None] == [folder.check() for _ in range(3)]
    assert [("warning", expected)] == [(line["log_level"], line["problem"]) for line in logs]
    assert {str(file): expected} == folder.files.problems
    folder.write("b.yaml", "2", "3")
    with capture_logs() as logs:
        assert ["1", "2", "3"] == folder.check()
        assert folder.check() is None
    assert [str(file)] == [line["file"] for line in logs if line["log_level"] == "info"]
    assert {} == folder.files.problems


@pytest.mark.parametrize(("name", "message"), BROKEN.items())
def test_lists_as_programs_wrote_them(folder: Folder, name: str, message: str) -> None:
    """Each case is refused with its cause and remedy, is logged once, and counts until the list is right."""
    folder.files = BatchFiles([folder.path / "*"], clock=folder.clock)
    folder.write(name, text=f'[{{"dataset_id": "{A}", "batch": "20261121173517669864"}}]')
    assert ["20261121173517669864"] == folder.check()
    folder.write(name, text=(CASES / name).read_bytes())
    with capture_logs() as logs:
        assert [None] * 3 == [folder.check() for _ in range(3)]
    [line] = logs
    assert ("warning", True) == (line["log_level"], line["problem"].startswith(f"{folder.path}/{message}")), line
    assert 1 == folder.files.problem_count
    folder.write(name, text="[]")
    assert ([], 0) == (folder.check(), folder.files.problem_count)


def test_every_case_has_a_test() -> None:
    """A case that is added requires an expectation."""
    assert {*BROKEN, "bom.json"} == {file.name for file in CASES.iterdir()}


def test_another_problem_of_a_file_is_logged_again(folder: Folder) -> None:
    """A different problem is logged again: the person who repairs the file needs it."""
    folder.write("a.yaml", text="- x\n")
    folder.check()
    file = folder.write("a.yaml", text="\n- x\n")
    with capture_logs() as logs:
        folder.check()
    assert [f"{file}:2: "] == [line["problem"].partition("[")[0] for line in logs]


def test_the_problem_of_a_removed_file_ends(folder: Folder) -> None:
    """Removing an invalid file removes its problem."""
    file = folder.write("a.yaml", text="")
    folder.check()
    assert [str(file)] == list(folder.files.problems)
    file.unlink()
    folder.check()
    folder.check()
    assert {} == folder.files.problems


def _too_large(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(16 * 1024 * 1024 + 1)


def _not_text(file: Path) -> None:
    file.write_bytes(b"- \xff\n")


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _a_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_too_large, "is larger than 16 MiB: is it the right file?"),
        (_not_text, "is not UTF-8 (line 1): save it as UTF-8"),
        (_a_folder, "is not a regular file but a directory, pipe or device: name only regular files"),
        (_a_pipe, "is not a regular file but a directory, pipe or device: name only regular files"),
        (_a_loop, "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_an_unreadable_file_changes_nothing(folder: Folder, damage: Callable[[Path], None], message: str) -> None:
    """An unreadable file keeps its batches, and a pipe blocks nothing."""
    file = folder.write("a.yaml", "1")
    folder.check()
    damage(file)
    with capture_logs() as logs:
        assert [None, None] == [folder.check() for _ in range(2)]
    assert [f"{file}: {message}"] == [line["problem"] for line in logs]
    assert {str(file): f"{file}: {message}"} == folder.files.problems


def test_a_file_that_could_not_be_read_is_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes accessible again, unchanged, is read again."""
    file = folder.write("a.yaml", "1")

    def away(_path: Path, _flags: int) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", away)
        assert [] == folder.check()
    assert {str(file): f"{file}: cannot be read: Input/output error"} == folder.files.problems
    assert ["1"] == folder.check()
    assert {} == folder.files.problems


def test_the_problem_of_an_inaccessible_file_ends(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was temporarily inaccessible keeps its batches, and its problem ends with the cause."""
    file = folder.write("a.yaml", "1")
    folder.check()

    def away(_path: Path) -> os.stat_result:
        raise OSError(116, os.strerror(116))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", away)
        assert folder.check() is None
    assert {str(file): f"{file}: cannot be read: {os.strerror(116)}"} == folder.files.problems
    assert folder.check() is None
    assert {} == folder.files.problems


def test_a_file_that_changes_while_it_is_read_waits(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content read during a change may be inconsistent: the next check decides, however recent the change."""
    folder.write("a.yaml", "1")
    folder.check()
    folder.write("a.yaml", "2")

    def disturbed(path: Path) -> str:
        text = read_text(path)
        folder.write("a.yaml", "2", "3", age=-CHECK_INTERVAL)
        return text

    with monkeypatch.context() as patch:
        patch.setattr(batch_files, "read_text", disturbed)
        assert folder.check() is None
    assert ["2", "3"] == folder.check()


def test_a_file_that_vanishes_while_it_is_read_waits(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file removed during reading may return by the next check; if not, it is removed."""
    folder.write("a.yaml", "1")
    folder.check()
    file = folder.write("a.yaml", "2")

    def vanished(path: Path) -> str:
        file.unlink()
        return read_text(path)

    with monkeypatch.context() as patch:
        patch.setattr(batch_files, "read_text", vanished)
        assert folder.check() is None
    assert {} == folder.files.problems
    assert [] == folder.check()


@pytest.mark.parametrize(
    ("pattern", "cause"),
    [
        ("*.yaml", "{folder} contains no such file"),
        (
            "nothing-here/*.yaml",
            "there is no folder {folder}/nothing-here; a relative path starts at",
        ),
        ("nothing-here/*/a.yaml", "there is no folder {folder}/nothing-here; "),
        ("a.txt/b.yaml", "{folder}/a.txt cannot be listed by this user: check that it is a folder, its owner and mode"),
    ],
)
def test_a_pattern_that_matches_nothing_is_reported_once(tmp_path: Path, pattern: str, cause: str) -> None:
    """A wrong path would otherwise look like an empty list; it counts as a problem until a file appears."""
    (tmp_path / "a.txt").write_text("")
    files = BatchFiles([tmp_path / pattern], clock=ManualClock())
    with capture_logs() as logs:
        assert [[], None] == [files.update() for _ in range(2)]
    [line] = logs
    expected = f"{tmp_path}/{pattern}: matches nothing: {cause.format(folder=tmp_path)}"
    assert ("warning", True) == (line["log_level"], line["problem"].startswith(expected)), line
    assert ({f"{tmp_path}/{pattern}": line["problem"]}, 1) == (files.unmatched, files.problem_count)


def test_a_pattern_matches_as_soon_as_there_is_a_file(folder: Folder) -> None:
    """The problem ends with the first file, and begins again only when the last one is gone for good."""
    folder.write("a.json", "1")
    folder.check()
    assert 1 == folder.files.problem_count
    file = folder.write("a.yaml", "2")
    with capture_logs() as logs:
        assert ["1", "2"] == folder.check()
    assert [f"{folder.path}/*.yaml"] == [line["pattern"] for line in logs if line["log_level"] == "info"]
    assert 0 == folder.files.problem_count
    file.unlink()
    assert (None, 0) == (folder.check(), folder.files.problem_count)
    assert (["1"], 1) == (folder.check(), folder.files.problem_count)


def test_links_as_in_kubernetes_config_maps(folder: Folder) -> None:
    """A ConfigMap update swaps one link to a directory: all its files change at once."""
    for name, batch in (("..1", "1"), ("..2", "2")):
        (folder.path / name).mkdir()
        folder.write(f"{name}/a.yaml", batch)
    (folder.path / "..data").symlink_to("..1")
    (folder.path / "a.yaml").symlink_to("..data/a.yaml")
    assert ["1"] == folder.check()
    (folder.path / "next").symlink_to("..2")
    (folder.path / "next").rename(folder.path / "..data")
    assert ["2"] == folder.check()


def test_files_that_do_not_respond(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While their file system hangs, files keep their batches, one line reports it, and nobody waits a second time."""
    folder.write("a.yaml", "1")
    folder.write("b.yaml", "2")
    folder.check()
    responds = threading.Event()
    present = glob.iglob

    def hang(pattern: str) -> Iterator[str]:
        if pattern.endswith(".yaml"):
            responds.wait()
        return present(pattern)

    monkeypatch.setattr(file_access, "TIMEOUT", 0.01)
    monkeypatch.setattr(glob, "iglob", hang)
    with capture_logs() as log:
        for _ in range(3):
            assert folder.check() is None
    assert ["batch files are not available; their previous batches stay"] == [line["event"] for line in log]
    assert "it does not respond; is its file system available?" in log[0]["problem"]
    assert {str(folder.path / "*.yaml"), f"{folder.path}/*.json"} == {*folder.files.unmatched}
    responds.set()
    until(lambda: folder.check() is None and {f"{folder.path}/*.json"} == {*folder.files.unmatched})
