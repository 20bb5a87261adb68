"""Signals: what they ask for is done, wherever they interrupt the program."""

from __future__ import annotations

import signal
import threading

from exporter.signals import reload_signal, stop_signals


def test_signal_handlers_are_put_back() -> None:
    """The handlers of a command last as long as it does."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert isinstance(stop, threading.Event)
        assert stop.wait(10)

    assert before == signal.getsignal(signal.SIGTERM)


def test_a_handler_waits_for_no_lock_that_the_main_thread_holds() -> None:
    """A signal that comes while the main thread is inside the event does not stop it for ever."""
    wanted = threading.Lock()
    done = threading.Event()

    def reload() -> None:
        with wanted:
            done.set()

    with reload_signal(reload):
        with wanted:
            signal.raise_signal(signal.SIGHUP)
        assert done.wait(10)


def test_each_signal_is_answered() -> None:
    """None gets lost in a storm."""
    calls: list[None] = []
    with reload_signal(lambda: calls.append(None)):
        for _ in range(300):
            signal.raise_signal(signal.SIGHUP)

    assert 300 == len(calls)
