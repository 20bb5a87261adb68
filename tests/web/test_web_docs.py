"""docs/web-security.md: it has every key, and its example works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.web.tls import TLS
from exporter.web.web_config import HTTP, ROOT

if TYPE_CHECKING:
    from tests.web.conftest import LoadWebConfig

TEXT = (Path(__file__).parents[2] / "docs" / "web-security.md").read_text(encoding="utf-8")


def test_every_key_is_documented() -> None:
    """Every key of the format has a row."""
    rows = set(re.findall(r"^\| `([a-z0-9_]+)` \|", TEXT, re.MULTILINE))

    assert {key.name for section in (ROOT, TLS, HTTP) for key in section.keys} == rows


def test_example_is_accepted(load_web_config: LoadWebConfig) -> None:
    """The example file on the page is valid, except for the paths of certificate and key."""
    (shown,) = re.findall(r"^```yaml\n# web.yml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    found = load_web_config(shown.replace("server.crt", "server.pem"))

    assert {b"prometheus"} == set(found.settings.users)
    assert () == found.warnings
