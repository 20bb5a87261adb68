"""Verifies passwords: one bcrypt at a time, none for pairs verified before, and no hint at which users exist."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_CACHED: Final = 256
"""Maximum number of cached pairs of user and password that were correct and need no further bcrypt."""

MAX_WAITING: Final = 32
"""Maximum number of passwords that wait to be verified, over all clients."""

MAX_WAITING_PER_ADDRESS: Final = 4
"""Maximum number of waiting passwords per address: guessing cannot lock out other clients."""

_BCRYPT_READS: Final = 72
"""Bytes of a password that bcrypt reads; the rest is ignored, as in htpasswd and Prometheus."""


class PasswordResult(Enum):
    """The result of an authentication attempt."""

    CORRECT = auto()
    WRONG = auto()
    BUSY = auto()
    """Not verified: too many passwords wait to be verified."""


class PasswordVerifier:
    """Verifies users. Use it in one event loop; ``check`` is bcrypt's except in tests."""

    def __init__(self, check: Callable[[bytes, bytes], bool] | None = None) -> None:
        self._check = check or _check
        self._salt = secrets.token_bytes(32)
        self._cached: OrderedDict[bytes, None] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._waiting: Counter[str] = Counter()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bcrypt")

    async def verify(
        self, users: Mapping[bytes, bytes], credentials: tuple[bytes, bytes], client: str
    ) -> PasswordResult:
        """Whether ``credentials``, name and password, match ``users``, a mapping of name to bcrypt hash.

        ``client``: the client's address. An unknown name takes as long as a known one.
        """
        name, password = credentials
        known = name in users
        # Else a hash of the highest cost, two digits: with one cost for all users, every name takes equally long.
        hashed = users[name] if known else max(users.values(), key=lambda each: each[4:6])
        digest = self._digest(name, hashed, password)
        if known and digest in self._cached:
            self._cached.move_to_end(digest)
            return PasswordResult.CORRECT
        verified = self._running.get(digest)
        if verified is None:
            if self._waiting.total() >= MAX_WAITING or self._waiting[client] >= MAX_WAITING_PER_ADDRESS:
                return PasswordResult.BUSY
            verified = self._begin(digest, password, hashed, client)
        if not (await asyncio.shield(verified) and known):
            return PasswordResult.WRONG
        self._cached[digest] = None
        while len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return PasswordResult.CORRECT

    def _begin(self, digest: bytes, password: bytes, hashed: bytes, client: str) -> asyncio.Future[bool]:
        self._waiting[client] += 1
        loop = asyncio.get_running_loop()
        verified = loop.run_in_executor(self._worker, self._check, password, hashed)
        self._running[digest] = verified

        def end(_done: object) -> None:
            del self._running[digest]
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]

        verified.add_done_callback(end)
        return verified

    def _digest(self, *parts: bytes) -> bytes:
        """Identifies a user, hash and password; reveals nothing without the salt of this process."""
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in parts:
            digest.update(len(part).to_bytes(8) + part)
        return digest.digest()

    def close(self) -> None:
        """Stop verifying."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _check(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_READS], hashed)
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
