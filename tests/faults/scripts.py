"""What spoilt servers do with a connection."""

from __future__ import annotations

import asyncio
import socket
import zlib
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.gates import Script

HUGE = 200 * 1024 * 1024
_PIECE = b" " * 1024 * 1024
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Version: 1.12.1\r\n"


def says(data: bytes) -> Script:
    """Send this for every request; keep the connection until the other side closes it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)

    return script


def hangs_up_after(data: bytes) -> Script:
    """Send this for a request and close the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return script


def blurts(data: bytes) -> Script:
    """Send this before anything was asked and close the connection."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def streams(head: bytes, pieces: Callable[[], Iterator[bytes]], *, pause: float = 0.0) -> Script:
    """Send ``head`` and then the pieces as long as they are taken."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for piece in pieces():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take the connection and never say a word."""
    await reader.read(-1)


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection without good-bye."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def head(*headers: str) -> bytes:
    """The head of a 200 with more headers."""
    return (_HEAD + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode()


def chunks(piece: bytes, times: int | None = None) -> Iterator[bytes]:
    """A chunked body that says ``piece`` so many times (None: for ever) and never ends."""
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return (chunk for _ in (count() if times is None else range(times)))


def drip() -> Script:
    """A byte a second."""
    body = b'{"data": []}'
    data = head(f"Content-Length: {len(body)}") + body
    return streams(b"", lambda: (data[at : at + 1] for at in range(len(data))), pause=1.0)


def headers_without_end() -> Script:
    """One header after the other."""
    return streams(b"HTTP/1.1 200 OK\r\n", lambda: (f"X-{number}: x\r\n".encode() for number in count()))


def flood() -> Script:
    """A body of 200 MiB that its length announces."""
    return streams(head(f"Content-Length: {HUGE}"), lambda: (_PIECE for _ in range(HUGE // len(_PIECE))))


def endless() -> Script:
    """A body that never ends."""
    return streams(head("Transfer-Encoding: chunked"), lambda: chunks(_PIECE))


def large() -> Script:
    """A body of 200 MiB in chunks, which announces nothing."""
    return streams(head("Transfer-Encoding: chunked"), lambda: chunks(_PIECE, HUGE // len(_PIECE)))


def bomb() -> Script:
    """200 MiB in 200 KB."""
    return says(_gzipped_answer(_packed()))


def gzip_ends_early() -> Script:
    """A gzip stream without its end, in a complete answer."""
    packed = zlib.compress(b'{"data": []}' + b" " * 1000, wbits=31)
    return says(_gzipped_answer(packed[: len(packed) // 2]))


def gzip_is_cut() -> Script:
    """A gzip stream that the end of the connection cuts."""
    answer = _gzipped_answer(zlib.compress(b'{"data": []}' + b" " * 1000, wbits=31))
    return hangs_up_after(answer[:-8])


def not_gzip() -> bytes:
    """An answer that says of plain text that it is a gzip stream."""
    return _gzipped_answer(b'{"data": []}')


@cache
def _packed() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(_PIECE) for _ in range(HUGE // len(_PIECE))) + packer.flush()


def _gzipped_answer(packed: bytes) -> bytes:
    return head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed
