"""The polls of one server that are under way: how many there may be, and whether any of them hangs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import ServerConfig
    from exporter.polling.targets import Target

LONGEST_WAIT_FOR_THREAD = 120.0
"""Seconds for which polls may be due while a thread is free; it takes one within a second or two."""

MOST_REQUESTS = 200
"""More requests than any poll sends: a list has 100 pages at most, and each request is repeated once at most."""

_REMEDY = "restart the exporter and report its log"


class RunningPolls:
    """Thread-safe. Times are monotonic seconds. Polls that began before a reload, in other threads, count as well."""

    def __init__(self, server: ServerConfig, now: float) -> None:
        self._server = server
        self._began: dict[Target, float] = {}
        self._last_began = now
        self._lock = threading.Lock()

    def reconfigure(self, server: ServerConfig) -> None:
        """Use another limit from now on."""
        self._server = server

    def begin(self, take: Callable[[float], tuple[Target, float] | None], now: float) -> tuple[Target, float] | None:
        """Begin the poll that ``take`` returns, if it returns one. None also when as many run as ``concurrency``."""
        with self._lock:
            if len(self._began) >= self._server.concurrency:
                return None
            taken = take(now)
            if taken is not None:
                self._began[taken[0]] = self._last_began = now
            return taken

    def end(self, target: Target) -> None:
        """The poll of ``target`` has ended."""
        with self._lock:
            del self._began[target]

    def problem(self, due: float | None, now: float) -> str | None:
        """Why nothing is polled although it is due, for people; None while all is well. ``due``: of the next poll.

        Neither a slow server nor a small budget nor a long ``Retry-After`` is a problem.
        """
        server = self._server
        with self._lock:
            began, idle = list(self._began.values()), now - self._last_began
        if len(began) < server.concurrency:
            if due is None or min(idle, now - due) <= LONGEST_WAIT_FOR_THREAD:
                return None
            return f"server {server.name}: polls are due, but none has started for {idle:.0f} s: {_REMEDY}"
        longest = MOST_REQUESTS * (server.timeout + server.concurrency / server.requests_per_second)
        hung = now - max(began)
        if hung <= longest:
            return None
        return f"server {server.name}: all threads have been in one poll each for {hung:.0f} s: {_REMEDY}"
