"""Entry point of ``dify-exporter`` and ``python -m exporter``."""

import os
import signal
from types import FrameType


def _end(number: int, _frame: FrameType | None) -> None:
    """End as by the signal's default action. That does nothing in process 1, the first of a container."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


# Importing takes half a second: signals that arrive meanwhile must neither be lost nor end the process by mistake.
for _number in (signal.SIGTERM, signal.SIGINT):
    if signal.getsignal(_number) is not signal.SIG_IGN:
        signal.signal(_number, _end)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # its default action would end the process

from exporter.cli import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="dify-exporter")
