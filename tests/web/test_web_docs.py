"""docs/web-security.md: generated from the code, and its example works."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.web.docs import PAGE, render
from exporter.web.web_config_keys import HTTP, ROOT, TLS

if TYPE_CHECKING:
    from tests.web.conftest import Secure


def test_page_is_fresh() -> None:
    """The page matches the table of keys; regenerate it with ``python -m exporter.web.docs``."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_key_is_there() -> None:
    """Every key of the format has a row."""
    rows = set(re.findall(r"^\| `([a-z0-9_]+)` \|", render(), re.MULTILINE))

    assert {key.name for section in (ROOT, TLS, HTTP) for key in section.keys} == rows


def test_example_is_accepted(secure: Secure) -> None:
    """The example file on the page is valid, except for the paths of certificate and key."""
    (shown,) = re.findall(r"^```yaml\n# web.yml\n(.*?)^```$", render(), re.MULTILINE | re.DOTALL)
    found = secure(shown.replace("server.crt", "server.pem"))

    assert {b"prometheus"} == set(found.settings.users)
    assert () == found.warnings
