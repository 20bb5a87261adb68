"""Verifies passwords: each pair once, fairly among clients, and without a hint at which users exist."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final

import bcrypt

from exporter.web.guesses import MAX_DELAY, FairQueue, Guesses, client_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MAX_CACHED: Final = 256
"""Maximum number of cached pairs of user and password, correct ones and wrong ones each, that need no bcrypt."""

MAX_WAITING: Final = 1024
"""Maximum number of passwords that wait to be verified, over all clients."""

MAX_WAITING_PER_ADDRESS: Final = 64
"""Maximum number of waiting passwords per client address."""

MAX_QUICK_COST: Final = 16
"""A bcrypt cost of 16 takes about 4 s of CPU per password, half of the usual scrape time-out."""

_BCRYPT_READS: Final = 72
"""Bytes of a password that bcrypt reads; the rest is ignored, as in htpasswd and Prometheus."""


class PasswordResult(Enum):
    """The result of an authentication attempt."""

    CORRECT = auto()
    WRONG = auto()
    BUSY = auto()
    """Not verified: too many passwords of the same client wait to be verified, or the client has disconnected."""


@dataclass(eq=False, slots=True)
class _Verification:
    """A pair of user and password that waits to be verified, or is being verified.

    ``done``: the result; None if all clients have disconnected. ``connected``: per waiting request, whether its client
    is still there. ``delay``: seconds to delay the answer to a wrong password.
    """

    client: str
    digest: bytes
    password: bytes
    hashed: bytes
    known: bool
    done: asyncio.Future[bool | None]
    connected: list[Callable[[], bool]] = field(default_factory=list)
    delay: float = 0.0

    @property
    def place(self) -> tuple[str, bool]:
        """Where it waits: its client, and whether the verification takes so long that quick ones must not wait."""
        return self.client, cost_of(self.hashed) > MAX_QUICK_COST

    def abandoned(self) -> bool:
        """Whether nobody waits for the result."""
        return not any(connected() for connected in self.connected)


class PasswordVerifier:
    """Verifies users. Use it in one event loop.

    Two threads run bcrypt, for clients in turn. One of them is reserved for clients that have recently sent few wrong
    passwords, and for hashes of a usual cost: guessing delays only the guessing client. Answers to its wrong
    passwords are delayed, which slows it down and lets others behind the same address be verified soon.
    """

    def __init__(
        self,
        check: Callable[[bytes, bytes], bool] | None = None,
        *,
        guesses: Guesses | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """The arguments are for tests; ``check`` takes a password and a hash, and is called in a thread."""
        self._check = check or _check
        self._guesses = guesses or Guesses()
        self._sleep = sleep or self._delay
        self._salt = secrets.token_bytes(32)
        self._cached: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._unfinished: dict[tuple[str, bytes], _Verification] = {}
        self._waiting: FairQueue[tuple[str, bool], _Verification] = FairQueue()
        self._busy: set[bool] = set()  # True: the reserved thread; False: the other one
        self._released = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bcrypt")

    async def verify(
        self,
        users: Mapping[bytes, bytes],
        credentials: tuple[bytes, bytes],
        address: str,
        connected: Callable[[], bool] = lambda: True,
    ) -> PasswordResult:
        """Whether ``credentials``, name and password, match ``users``, a mapping of name to bcrypt hash.

        ``address``: the client's; ``connected``: whether it still waits. An unknown name takes as long as a known one.
        """
        name, password = credentials
        known = name in users
        # Else a hash of the highest cost: with one cost for all users, every name takes equally long.
        hashed = users[name] if known else max(users.values(), key=cost_of)
        digest = self._digest(name, hashed, password, b"known" if known else b"")
        result = self._cached_result(digest)
        if result is not None:
            return PasswordResult.CORRECT if result else PasswordResult.WRONG
        client = client_of(address)
        verification = self._unfinished.get((client, digest))
        if verification is None:
            done = asyncio.get_running_loop().create_future()
            verification = _Verification(client, digest, password[:_BCRYPT_READS], hashed, known, done)
            if self._is_full(verification.place):
                return PasswordResult.BUSY
            self._unfinished[client, digest] = verification
            self._waiting.push(verification.place, verification)
        verification.connected.append(connected)
        self._start_waiting()
        result = await asyncio.shield(verification.done)
        if result is None:
            return PasswordResult.BUSY
        if not result:
            await self._sleep(verification.delay)
        return PasswordResult.CORRECT if result else PasswordResult.WRONG

    def _cached_result(self, digest: bytes) -> bool | None:
        for result, digests in self._cached.items():
            if digest in digests:
                digests.move_to_end(digest)
                return result
        return None

    def _is_full(self, place: tuple[str, bool]) -> bool:
        """Whether no further password may wait there, even without those whose client has disconnected."""

        def full() -> bool:
            return len(self._waiting) >= MAX_WAITING or self._waiting.count(place) >= MAX_WAITING_PER_ADDRESS

        if full():
            self._remove_abandoned()
        return full()

    def _remove_abandoned(self) -> None:
        for abandoned in self._waiting.remove(_Verification.abandoned):
            self._finish(abandoned, None)

    def _start_waiting(self) -> None:
        for reserved in (True, False):
            if reserved not in self._busy:
                self._start_next(reserved=reserved)

    def _start_next(self, *, reserved: bool) -> None:
        """Verify the next password for one of the threads."""

        def admitted(place: tuple[str, bool]) -> bool:
            client, is_expensive = place
            return not reserved or not (is_expensive or self._guesses.is_suspect(client))

        def has_guessed(place: tuple[str, bool]) -> bool:
            return reserved and self._guesses.count(place[0]) > 0

        self._remove_abandoned()
        while next_one := self._waiting.pop(admitted, has_guessed):
            result = self._cached_result(next_one.digest)
            if result is not None:  # another client has sent the same pair
                self._finish(next_one, result)
                continue
            loop = next_one.done.get_loop()
            running = loop.run_in_executor(self._threads, self._check, next_one.password, next_one.hashed)
            running.add_done_callback(partial(self._end, next_one, reserved=reserved))
            self._busy.add(reserved)
            return

    def _end(self, verification: _Verification, ran: asyncio.Future[bool], *, reserved: bool) -> None:
        self._busy.discard(reserved)
        if ran.cancelled():  # the verifier is closed
            return
        error = ran.exception()
        if error is None:
            self._record(verification, correct=ran.result() and verification.known)
        elif not verification.done.done():
            del self._unfinished[verification.client, verification.digest]
            verification.done.set_exception(error)
        self._start_waiting()

    def _record(self, verification: _Verification, *, correct: bool) -> None:
        """Cache the result, even if the client has disconnected: a high cost may take longer than its time-out."""
        digests = self._cached[correct]
        digests[verification.digest] = None
        while len(digests) > MAX_CACHED:
            digests.popitem(last=False)
        if not correct:
            self._guesses.add(verification.client)
            # A guesser that went on at once would always be newer than others that wait behind the same address.
            behind = float(self._waiting.count(verification.place))
            verification.delay = min(max(self._guesses.delay(verification.client), behind), MAX_DELAY)
        self._finish(verification, correct)

    def _finish(self, verification: _Verification, result: bool | None) -> None:  # noqa: FBT001 - a value
        self._unfinished.pop((verification.client, verification.digest), None)
        if not verification.done.done():
            verification.done.set_result(result)

    async def _delay(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._released.wait(), seconds)

    def release(self) -> None:
        """Let all requests that wait continue, unverified or without further delay. Call it in the event loop."""
        self._released.set()
        self._waiting = FairQueue()
        for verification in tuple(self._unfinished.values()):
            self._finish(verification, None)

    def _digest(self, *parts: bytes) -> bytes:
        """Identifies a user, hash and password; reveals nothing without the salt of this process."""
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8) + part)
        return digest.digest()

    def close(self) -> None:
        """Stop verifying."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def cost_of(hashed: bytes) -> int:
    """The cost of a bcrypt hash, two digits after ``$2b$``. One more doubles the time that a verification takes."""
    return int(hashed[4:6])


def _check(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # a byte that the library rejects
        return False


def basic_credentials(authorization: list[bytes]) -> tuple[bytes, bytes] | None:
    """Name and password of the Authorization header; None unless there is exactly one header with both."""
    if len(authorization) != 1:
        return None
    scheme, _, encoded = authorization[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password) if colon else None
