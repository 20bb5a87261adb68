"""A stand-in for bcrypt, and a verifier that uses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from exporter.web.passwords import PasswordResult, PasswordVerifier

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from exporter.web.guesses import Guesses

CHEAP = b"$2b$04$"
USERS = {b"alice": CHEAP + b"alice", b"bob": b"$2b$10$bob"}
Verify = Callable[..., Awaitable[PasswordResult]]


@dataclass
class FakeBcrypt:
    """Accepts the end of the hash as password, and records the calls.

    ``gate``: verification runs while it is open; ``held``: if set, it matters only for passwords that begin so.
    ``delay``: seconds that it takes. ``inside``: how many run.
    """

    calls: list[tuple[bytes, bytes]] = field(default_factory=list)
    delay: float = 0.0
    held: bytes | None = None
    max_concurrent: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    inside: int = 0

    def __post_init__(self) -> None:
        """Open the gate."""
        self.gate.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        """Verify a password."""
        self.inside += 1
        self.max_concurrent = max(self.max_concurrent, self.inside)
        self.calls.append((password, hashed))
        assert (self.held is not None and not password.startswith(self.held)) or self.gate.wait(60)
        threading.Event().wait(self.delay)
        self.inside -= 1
        return hashed[7:] == password


def run(
    main: Callable[[Verify], Coroutine[Any, Any, None]],
    check: FakeBcrypt,
    *,
    guesses: Guesses | None = None,
    delays: list[float] | None = None,
) -> None:
    """Run ``main`` with a function that authenticates a name and a password, optionally from an address.

    Delayed answers are not delayed; ``delays`` records for how long they would have been.
    """

    async def sleep(seconds: float) -> None:
        if delays is not None:
            delays.append(seconds)

    verifier = PasswordVerifier(check, guesses=guesses, sleep=sleep)

    async def verify(
        name: bytes, password: bytes, client: str = "10.0.0.1", users: Any = USERS, **settings: Any
    ) -> PasswordResult:
        return await verifier.verify(users, (name, password), client, **settings)

    try:
        asyncio.run(main(verify))
    finally:
        check.gate.set()
        verifier.close()


async def eventually(result: Awaitable[PasswordResult]) -> PasswordResult:
    """The result, as a coroutine that can become a task."""
    return await result


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition does not hold")
