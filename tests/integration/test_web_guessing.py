"""Guessing passwords at full rate against the real process: the first scrape after a restart succeeds all the same."""

from __future__ import annotations

import base64
import http.client
import itertools
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import bcrypt
import pytest

from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Configure, Start

SCRAPER = "127.0.0.1"
OTHERS = [f"127.0.0.{number}" for number in range(2, 10)]
SCRAPE_TIMEOUT = 10.0
CONNECTIONS = 6
"""Connections with which each address guesses at the same time."""

_HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()


def _request(port: int, address: str, password: str, timeout: float) -> int:
    """The status of the answer to a scrape from an address."""
    credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=(address, 0))
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@contextmanager
def _guessing(port: int, addresses: list[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Guess from the addresses, each guess on a new connection; yields the guesses and the answers so far.

    Whoever guesses waits for an answer for a second, and then goes on.
    """
    stop = threading.Event()
    sent: list[str] = []
    answers: list[int] = []

    def guess(address: str, guesses: Iterator[int]) -> None:
        while not stop.is_set():
            password = f"{address} {next(guesses)}"
            sent.append(password)
            with suppress(OSError):
                answers.append(_request(port, address, password, 1.0))

    guessers = []
    for address in addresses:
        guesses = itertools.count()
        guessers += [threading.Thread(target=guess, args=(address, guesses)) for _ in range(CONNECTIONS)]
    for each in guessers:
        each.start()
    try:
        yield sent, answers
    finally:
        stop.set()
        for each in guessers:
            each.join()


@pytest.mark.parametrize("addresses", [OTHERS, [SCRAPER], [SCRAPER, *OTHERS]], ids=["others", "same", "both"])
def test_first_scrape_after_a_restart(start: Start, configure: Configure, tmp_path: Path, addresses: list[str]) -> None:
    """Whoever guesses, from elsewhere or behind the same address: the right password is accepted in time."""
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{prometheus: {_HASH}}}")
    program = start(
        *("run", "--config.file", configure(), "--web.config.file", str(web), "--web.listen-address", "127.0.0.1:0")
    )
    port = program.port()
    with _guessing(port, addresses) as (sent, answers):
        until(lambda: len(sent) > CONNECTIONS * len(addresses))  # all of them wait, and one has begun again
        started = time.monotonic()
        status = _request(port, SCRAPER, "secret", SCRAPE_TIMEOUT)
        first = time.monotonic() - started
        again = _request(port, SCRAPER, "secret", SCRAPE_TIMEOUT)

    assert (200, 200) == (status, again)
    assert SCRAPE_TIMEOUT > first
    assert {401, 429} >= set(answers)
