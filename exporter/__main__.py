"""Entry point of ``dify-exporter`` and ``python -m exporter``."""

import signal

# Importing takes half a second. SIGHUP is blocked meanwhile: its default action would end the process.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

from exporter.cli import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="dify-exporter")
