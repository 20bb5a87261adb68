"""``python -m bench.fuzz``: a million inputs, or what the command line says; each subject in a process of its own.

What a subject does not bear is written to ``tests/seeds``, where every run finds it again. Exit 1 when there is any.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sys
from typing import TYPE_CHECKING, Final

from bench.fuzz.canned import ROOT
from bench.fuzz.process import Trial
from bench.fuzz.subjects import SHARES, SUBJECTS

if TYPE_CHECKING:
    from bench.fuzz.explore import Report

DEFAULT_INPUTS: Final = 1_100_000


def main() -> int:
    """Run it, some subjects at a time."""
    arguments = _parser().parse_args()
    # A proxy would stand between the client and its inputs.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    wanted = arguments.subjects or list(SUBJECTS)
    shares = sum(SHARES[name] for name in wanted)
    trials = [Trial(name, arguments.seed, round(arguments.inputs * SHARES[name] / shares)) for name in wanted]
    trials.sort(key=lambda trial: SHARES[trial.name])
    multiprocessing.set_start_method("spawn")
    print("| subject | inputs | seconds | outcomes | slowest, CPU | memory | findings |\n|---|---|---|---|---|---|---|")
    running: list[Trial] = []
    findings = inputs = 0
    while trials or running:
        while trials and len(running) < arguments.jobs:
            running.append(trials.pop())
            running[-1].start()
        for trial in running:
            report = trial.look(1.0)
            if report is None:
                continue
            running.remove(trial)
            inputs += report.inputs
            findings += _tell(trial.name, report)
            break
    print(f"\n{inputs} inputs, seed {arguments.seed}, {findings} findings")
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], help="all of them without one")
    parser.add_argument("--inputs", type=int, default=DEFAULT_INPUTS, help="of all subjects together")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers: the same inputs again")
    parser.add_argument("--jobs", type=int, default=1, help="subjects at a time")
    return parser


def _tell(name: str, report: Report) -> int:
    finding = report.finding
    row = (
        *(name, f"{report.inputs:,}", f"{report.seconds:.0f}", report.outcomes),
        *(f"{report.slowest * 1000:.0f} ms", f"+{report.growth:.0f} MiB", int(finding is not None)),
    )
    print("| " + " | ".join(map(str, row)) + " |", flush=True)
    if finding is None:
        return 0
    folder = ROOT / "tests" / "seeds" / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"found-{hashlib.sha256(finding.data).hexdigest()[:12]}"
    path.write_bytes(finding.data)
    print(f"{path.relative_to(ROOT)}\n{finding.why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
