"""``python -m bench.fuzz.driven MODULE:CLASS FOLDER [FLAG…]`` runs a subject under atheris in this process.

``FOLDER`` receives the seeds, the dictionary and the record. The flags are those of libFuzzer.
"""

from __future__ import annotations

import resource
import sys
import zlib
from importlib import import_module
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import atheris

from bench.fuzz.limits import LONGEST, Watch
from bench.fuzz.mutation import Mutator
from bench.fuzz.record import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.fuzz.limits import Subject

ADDRESS_SPACE: Final = 4 * 1024**3
"""Bytes."""

PLACES: Final = 2_048
"""Number of outcomes, which are distinguished by a hash."""


def main() -> None:
    """Does not return: libFuzzer exits the process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    name, folder, *flags = sys.argv[1:]
    module, _, kind = name.partition(":")
    with atheris.instrument_imports(include=["exporter"]):
        subject: Subject = getattr(import_module(module), kind)()
    atheris.instrument_func(type(subject).take)
    seeds = [Path(folder, f"seed-{number}") for number in range(len(subject.seeds))]
    for path, seed in zip(seeds, subject.seeds, strict=True):
        path.write_bytes(seed)
    first = Path(folder, "seeds")
    first.write_text(",".join(map(str, seeds)), encoding="utf-8")
    words = Path(folder, "words")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in subject.words), encoding="ascii")
    # Setup replaces the function.
    mutator = Mutator(subject.words, subject.separator, lambda data, longest: bytes(atheris.Mutate(data, longest)))

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        return mutator.change(data, longest, Random(seed))  # noqa: S311 no secret

    # Without a corpus directory, the corpus stays in memory; nothing needs it later.
    command = [sys.argv[0], f"-max_len={LONGEST}", f"-dict={words}", f"-seed_inputs=@{first}", *flags]
    atheris.Setup(command, _taker(subject, Recorder(Path(folder, "record"))), custom_mutator=mutate)
    atheris.Fuzz()


def _taker(subject: Subject, recorder: Recorder) -> Callable[[bytes], None]:
    places = [_place() for _ in range(PLACES)]
    watch = Watch(subject)

    def take(data: bytes) -> None:
        recorder.begin(data)
        outcome = watch.take(data)
        recorder.spend(watch.slowest, watch.growth)
        places[zlib.crc32(outcome.encode(errors="replace")) % PLACES]()

    return take


def _place() -> Callable[[], None]:
    """A function that is covered or not, so that libFuzzer sees outcomes decided in C code."""

    def reached() -> None:
        """Mark the outcome as covered."""

    instrumented: Callable[[], None] = atheris.instrument_func(reached)
    return instrumented


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
