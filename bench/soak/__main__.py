"""``python -m bench.soak --minutes 5`` runs the real process beside two embedded Difys, one of which misbehaves.

Faults, reloads, restarts of Dify, steps of the clock and suspensions happen all the time, and another exporter tries
the state file. Prints the findings as Markdown; exit code 1 when a limit is exceeded.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.soak.report import explained, findings, print_report
from bench.soak.run import soak
from bench.soak.truth import Event

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Run the soak test and print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the logs, the configuration and the tables here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run, scrapers = soak(folder, arguments.minutes * 60, arguments.seed)
        events = sorted(
            [
                *run.events,
                *(Event(at, f"{name}: {what}") for name, each in run.histories.items() for at, what in each.events),
            ]
        )
        write_table(folder / "samples.csv", run.samples)
        write_table(folder / "scrapes.csv", scrapers.scrapes)
        write_table(folder / "events.csv", [event._replace(at=event.at - run.begun) for event in events])
        for name, history in run.histories.items():
            write_table(folder / f"ends-{name}.csv", [end._replace(at=end.at - run.begun) for end in history.ends])
        found = list(findings(run, scrapers))
        traces = [line for finding in found for line in (f"## {finding.what}", *explained(finding, events, run.begun))]
        (folder / "traces.md").write_text("\n".join(traces) + "\n", encoding="utf-8")
    print(f"{arguments.minutes:g} minutes, {run.requests} requests, {run.reloads} reloads, seed {arguments.seed}")
    print(f"machine load at the end: {os.getloadavg()[1]:.1f} (5 minutes), {os.cpu_count()} processors")
    print(", ".join(f"{count} {name}" for name, count in sorted(run.happened.items())), end="\n\n")
    print_report(found, events, run.begun)
    return 0 if all(finding.met for finding in found) else 1


def write_table(path: Path, rows: Sequence[tuple[object, ...]]) -> None:
    """Write named tuples as a CSV file."""
    lines = (",".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row) for row in rows)
    header = ",".join(getattr(rows[0], "_fields", ())) if rows else ""
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
