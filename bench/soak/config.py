"""The exporter's configuration during a soak test, and its reloads."""

from __future__ import annotations

import http.client
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import yaml

from bench.soak.knowledge import KEYS, permanent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from random import Random

    from bench.soak.knowledge import ServerName
    from bench.soak.watch import Exporter

AFTER: Final = 20.0
QUEUED_AFTER: Final = 40.0
"""Seconds without movement after which a document, or one that waits, is stalled."""

INVALID: Final = ("servers: [", "", "servers: []\nunheard: 1\n")


def write_config(folder: Path, urls: Mapping[ServerName, str], random: Random | None = None) -> None:
    """Write the configuration. ``random`` varies it, but not what is watched on the two servers."""
    servers = [
        {"name": name, "url": url, **_key(name), **_watched(name), "concurrency": 4, "requests_per_second": 100}
        for name, url in urls.items()
    ]
    if random:
        for server in servers:
            server["concurrency"] = random.choice((2, 4, 8))
            server["requests_per_second"] = random.choice((80, 100))
        if random.random() < 0.4:
            spare = {"name": "spare", "batch_files": [], "datasets": [], "requests_per_second": 20}
            servers.append({**servers[0], **spare})
        if random.random() < 0.3:
            servers.append({"name": "dead", "url": "http://127.0.0.1:9/v1", "api_key": KEYS["bad"], "discover": True})
    content = {
        "servers": servers,
        "polling": {
            "interval": "1s",
            "max_interval": "2s",
            "settled_interval": "1s",
            "max_settled_interval": "3s",
            "discovery_interval": "1s",
            "detail_interval": "10s",
        },
        "stall": {"after": f"{AFTER:g}s", "queued_after": f"{QUEUED_AFTER:g}s"},
        "retention": {"finished": "2m"},
        "state": {"path": "state.db"},
        "log": {"level": "debug"},
    }
    put(folder / "config.yaml", yaml.safe_dump(content))


def _key(server: ServerName) -> dict[str, Any]:
    return {"api_key_file": "bad.key"} if server == "bad" else {"api_key": KEYS[server]}


def _watched(server: ServerName) -> dict[str, Any]:
    off = [{"id": each.id, "discover": False} for each in permanent(server) if each.mode == "listed"]
    return {"discover": True, "timeout": "2s", "batch_files": [f"batches/{server}.json"], "datasets": off}


def put(path: Path, text: str) -> None:
    """Replace a file atomically, because the exporter may be reading it."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def reload(folder: Path, urls: Mapping[ServerName, str], exporter: Exporter, random: Random) -> int:
    """Change or break the configuration and trigger a reload in a random way; return the number of reloads."""
    write_config(folder, urls, random if random.random() < 0.5 else None)
    if random.random() < 0.25:
        put(folder / "config.yaml", random.choice(INVALID))
    match random.randrange(5):
        case 0:
            for _ in range(20):
                exporter.process.send_signal(signal.SIGHUP)
            return 20
        case 1:
            with closing(http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=10)) as connection:
                connection.request("POST", "/-/reload")
                connection.getresponse().read()
        case _:
            exporter.process.send_signal(signal.SIGHUP)
    return 1
