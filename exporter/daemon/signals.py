"""Signal handlers that hand their work to a thread.

A handler runs in the main thread between any two bytecodes, even while that thread holds the lock of an event: setting
the event there could deadlock. So handlers only put a number into a queue, which is reentrant.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_END = 0


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second such signal ends the process at once."""
    stop = threading.Event()
    signalled = False

    def handle(number: int, put: Callable[[int], None]) -> None:
        nonlocal signalled
        if signalled:
            os._exit(128 + number)
        signalled = True
        put(number)

    with _relayed((signal.SIGTERM, signal.SIGINT), handle, stop.set):
        yield stop


@contextmanager
def reload_signal(reload: Callable[[], None]) -> Iterator[None]:
    """Within the context, SIGHUP calls ``reload`` in a thread; so does one that was blocked before."""
    with _relayed((signal.SIGHUP,), lambda number, put: put(number), reload):
        release_hangup()
        yield


def release_hangup() -> None:
    """Unblock SIGHUP, which is blocked during startup."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def _relayed(
    numbers: tuple[int, ...], handle: Callable[[int, Callable[[int], None]], None], action: Callable[[], None]
) -> Iterator[None]:
    received: SimpleQueue[int] = SimpleQueue()

    def work() -> None:
        while received.get() != _END:
            action()

    thread = threading.Thread(target=work, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, lambda number, _: handle(number, received.put)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        received.put(_END)
        thread.join()
