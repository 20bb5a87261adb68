"""Signals take effect wherever they interrupt the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from exporter.daemon.signals import reload_signal, stop_signals


def test_signal_handlers_are_restored() -> None:
    """Signal handlers are restored when the command ends."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert isinstance(stop, threading.Event)
        assert stop.wait(60)

    assert before == signal.getsignal(signal.SIGTERM)


def test_a_handler_waits_for_no_lock_of_the_main_thread() -> None:
    """A signal that arrives while the main thread holds the event's lock does not deadlock."""
    wanted = threading.Lock()
    done = threading.Event()

    def reload() -> None:
        with wanted:
            done.set()

    with reload_signal(reload):
        with wanted:
            signal.raise_signal(signal.SIGHUP)
        assert done.wait(60)


def test_no_signal_is_lost() -> None:
    """No signal of a burst is lost."""
    calls: list[None] = []
    with reload_signal(lambda: calls.append(None)):
        for _ in range(300):
            signal.raise_signal(signal.SIGHUP)

    assert 300 == len(calls)


def test_a_reload_during_startup_is_delayed() -> None:
    """SIGHUP during startup does not end the process: the reload happens as soon as possible."""
    program = """
import os, signal, threading
import exporter.__main__
from exporter.daemon.signals import reload_signal
os.kill(os.getpid(), signal.SIGHUP)
done = threading.Event()
with reload_signal(done.set):
    print(done.wait(60))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert "True" == done.stdout.strip()


def test_a_hangup_ends_the_simulator() -> None:
    """The embedded Dify ends when its terminal closes."""
    program = """
import runpy, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests may have it ignored
sys.argv = ["exporter", "simulate", "--listen=127.0.0.1:0"]
runpy.run_module("exporter", run_name="__main__")
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            os.kill(process.pid, signal.SIGHUP)
            assert -signal.SIGHUP == process.wait(60)
        finally:
            process.kill()
