"""Parses and checks pages, in a separate process so that the scrapers are not slowed down."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from typing import Final, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

MOST_REMEMBERED: Final = 200

_ENDS = re.compile(r"^dify_documents_finished_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_remembered: dict[bytes, None] = {}


class Reading(NamedTuple):
    """``ends``: finished documents of the main server by knowledge base and status. ``problem``: "" if none."""

    problem: str
    ends: dict[str, int]


def read_page(body: bytes, *, packed: bool, openmetrics: bool) -> Reading:
    """Read a page; a page seen recently is not parsed again."""
    text = gzip.decompress(body) if packed else body
    digest = hashlib.blake2b(text, digest_size=16).digest()
    known = digest in _remembered
    _remembered[digest] = None
    if len(_remembered) > MOST_REMEMBERED:
        del _remembered[next(iter(_remembered))]
    return Reading("" if known else check_page(text, openmetrics=openmetrics), _ends(text.decode()))


def check_page(text: bytes, *, openmetrics: bool) -> str:
    """What is wrong with a page; "" if it is correct."""
    try:
        families = list((parse_openmetrics if openmetrics else parse_text)(text.decode()))
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for each in families for sample in each.samples]
    except Exception as error:  # noqa: BLE001 whatever the parser does not bear
        return f"{type(error).__name__}: {error}"
    if len(set(series)) != len(series):
        return "duplicate series"
    if any(sample.value != sample.value for each in families for sample in each.samples):
        return "NaN"
    if not families:
        return "no metrics"
    return ""


def _ends(text: str) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for labels, value in _ENDS.findall(text):
        found = dict(_LABEL.findall(labels))
        if found["server"] == "main":
            sums[f"{found['dataset_id']} {found['status']}"] += int(float(value))
    return dict(sums)
