"""``python -m tests.deploy.record`` plays all scenes and writes promtool unit tests of the rules.

The input series are what Prometheus would have scraped from the exporter, which polls the simulator on a virtual clock.
The scenes define which alerts are expected when. With ``--check``, it only reports the files that would change.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from exporter.daemon.logs import set_up_logging
from tests.deploy.scenes import SCENES
from tests.deploy.stage import INSTANCE, JOB, SERVER, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.deploy.scene import Firing, Scene

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = PROMETHEUS / "dify.rules.yml"
TESTS = PROMETHEUS / "tests"
RUNBOOKS = "https://github.com/dify-exporter/dify-exporter/blob/main/docs/alerts.md#"

_METRIC = re.compile(r"(?<![\w:])(?:dify_[a-z_]+|up|scrape_duration_seconds)(?=[\s{\[)])")


def rules() -> list[dict[str, Any]]:
    """All rules in their order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def used_names() -> set[str]:
    """Metrics that the rules use, in expressions and in alert texts."""
    texts = [rule["expr"] for rule in rules()]
    texts += [text for rule in alerts() for text in rule["annotations"].values()]
    return {name for text in texts for name in _METRIC.findall(text)}


def test_file(scene: Scene) -> str:
    """The unit test of a scene."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(scene.scenario, Path(folder), used_names(), interval=scene.interval, settings=scene.settings)
        stage.play(scene.acts, scene.minutes)
    test = {
        "name": scene.name,
        "interval": f"{scene.interval}s",
        "input_series": [{"series": name, "values": values} for name, values in _series(stage, twice=scene.twice)],
        "alert_rule_test": list(_expected(scene)),
    }
    content = {
        "rule_files": [f"../{RULES.name}"],
        "evaluation_interval": f"{max(60, scene.interval)}s",
        "tests": [test],
    }
    written = yaml.dump(content, sort_keys=False, allow_unicode=True, width=1_000_000, Dumper=_Dumper)
    return f"# Written by `python -m tests.deploy.record`. Do not edit.\n{written}"


def _series(stage: Stage, *, twice: bool) -> Iterator[tuple[str, str]]:
    for name, values in stage.series.lines():
        yield name, values
        if twice:
            yield name.replace(f'instance="{INSTANCE}"', 'instance="exporter-2:9439",pod="exporter-2"'), values


def _expected(scene: Scene) -> Iterable[dict[str, Any]]:
    for minute, firing in scene.fires.items():
        for rule in alerts():
            found = [_alert(each) for each in firing if each.alert == rule["alert"]]
            yield {"eval_time": f"{round(minute * 60)}s", "alertname": rule["alert"], "exp_alerts": found}


def _alert(firing: Firing) -> dict[str, Any]:
    common = {"job": JOB, "server": SERVER, "severity": firing.severity}
    labels = {name: value for name, value in (common | dict(firing.labels)).items() if value}
    annotations = {
        "summary": firing.summary,
        "description": firing.description,
        "runbook_url": RUNBOOKS + firing.alert.lower(),
    }
    return {"exp_labels": labels, "exp_annotations": annotations}


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes repeated values in full."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 the signature is PyYAML's
        """Always ignore aliases."""
        return True


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` report the outdated ones; the exit code is 1 if there are any."""
    set_up_logging("critical", "logfmt")
    check = "--check" in arguments
    chosen = [name for name in arguments if not name.startswith("-")]
    changed = []
    TESTS.mkdir(exist_ok=True)
    expected = {TESTS / f"{name}.test.yml": scene for name, scene in SCENES.items()}
    for path, scene in expected.items():
        if chosen and path.name.removesuffix(".test.yml") not in chosen:
            continue
        text = test_file(scene)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in sorted(set(TESTS.glob("*.test.yml")) - set(expected)):
        changed.append(path)
        if not check:
            path.unlink()
    for path in changed:
        sys.stdout.write(f"{'differs' if check else 'written'}: {path.name}\n")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
