"""The first answers, decoded in several threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys, threading
import msgspec
from exporter.dify import answers as module

sys.setswitchinterval(1e-6)
bodies = {
    found: msgspec.json.encode(dict.fromkeys(found.__struct_fields__))
    for name, found in sorted(vars(module).items())
    if isinstance(found, type) and issubclass(found, msgspec.Struct) and found is not msgspec.Struct
}
together = threading.Barrier(8)

def decode():
    for shape, body in bodies.items():
        together.wait()
        try:
            msgspec.json.decode(body, type=shape)
        except msgspec.ValidationError:
            pass

threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(bodies))
"""


def test_first_answers_in_many_threads_do_not_crash_the_process() -> None:
    """Types that threads decode are prepared at import: msgspec 0.22 crashes when two threads do it at once."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )

        assert 0 == done.returncode, done.stderr
        assert int(done.stdout) > 10
