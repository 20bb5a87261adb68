"""``python -m bench.fuzz`` runs a million inputs by default, each subject in a separate process.

Failing inputs are written to ``tests/seeds``, so that every later run includes them. Exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from bench.fuzz.canned import SEEDS
from bench.fuzz.subjects import SHARES, SUBJECTS
from bench.fuzz.trial import Report, attempt

DEFAULT_INPUTS: Final = 1_100_000


def main() -> int:
    """Run the subjects one after another."""
    arguments = _parser().parse_args()
    wanted = arguments.subjects or list(SUBJECTS)
    shares = sum(SHARES[name] for name in wanted)
    print("| subject | inputs | seconds | coverage | corpus | slowest, CPU | memory | findings |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    findings = inputs = 0
    for name in wanted:
        share = round(arguments.inputs * SHARES[name] / shares)
        report = attempt(SUBJECTS[name], SEEDS / name, seed=arguments.seed, inputs=share)
        inputs += report.inputs
        findings += _tell(name, report)
    print(f"\n{inputs:,} inputs, seed {arguments.seed}, {findings} findings")
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], help="default: all")
    parser.add_argument("--inputs", type=int, default=DEFAULT_INPUTS, help="total for all subjects")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the random numbers; thread timing does not depend on it"
    )
    return parser


def _tell(name: str, report: Report) -> int:
    finding = report.finding
    row = (
        *(name, f"{report.inputs:,}", f"{report.seconds:.0f}", f"{report.coverage:,}", f"{report.corpus:,}"),
        *(f"{report.slowest * 1000:.0f} ms", f"+{report.growth:.0f} MiB", int(finding is not None)),
    )
    print("| " + " | ".join(map(str, row)) + " |", flush=True)
    if finding is None:
        return 0
    print(f"{finding.path}: {finding.why}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
