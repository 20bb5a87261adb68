"""Scripts of broken servers: what they do with a connection."""

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
    """Send ``data`` for every request; keep the connection until the peer closes it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)

    return script


def hangs_up_after(data: bytes) -> Script:
    """Send ``data`` for a request and close the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return script


def blurts(data: bytes) -> Script:
    """Send ``data`` before any request and close the connection."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def streams(head: bytes, pieces: Callable[[], Iterator[bytes]], *, pause: float = 0.0) -> Script:
    """Send ``head`` and then the pieces as long as the peer reads."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for piece in pieces():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept the connection and never send anything."""
    await reader.read(-1)


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


def head(*headers: str) -> bytes:
    """The header section of a 200 with additional headers."""
    return (_HEAD + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode()


def chunks(piece: bytes, times: int | None = None) -> Iterator[bytes]:
    """An unterminated chunked body that repeats ``piece`` so many times (None: forever)."""
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return (chunk for _ in (count() if times is None else range(times)))


def drip() -> Script:
    """Send one byte per second."""
    body = b'{"data": []}'
    data = head(f"Content-Length: {len(body)}") + body
    return streams(b"", lambda: (data[at : at + 1] for at in range(len(data))), pause=1.0)


def headers_without_end() -> Script:
    """Send headers without end."""
    return streams(b"HTTP/1.1 200 OK\r\n", lambda: (f"X-{number}: x\r\n".encode() for number in count()))


def flood() -> Script:
    """Send a body of 200 MiB with a matching Content-Length."""
    return streams(head(f"Content-Length: {HUGE}"), lambda: (_PIECE for _ in range(HUGE // len(_PIECE))))


def endless() -> Script:
    """Send a chunked body without end."""
    return streams(head("Transfer-Encoding: chunked"), lambda: chunks(_PIECE))


def large() -> Script:
    """Send a chunked body of 200 MiB, without a Content-Length."""
    return streams(head("Transfer-Encoding: chunked"), lambda: chunks(_PIECE, HUGE // len(_PIECE)))


def bomb() -> Script:
    """Send 200 MiB compressed to 200 KB."""
    return says(_gzipped_answer(_packed()))


def gzip_ends_early() -> Script:
    """Send a truncated gzip stream in a complete answer."""
    packed = zlib.compress(b'{"data": []}' + b" " * 1000, wbits=31)
    return says(_gzipped_answer(packed[: len(packed) // 2]))


def gzip_is_cut() -> Script:
    """Close the connection in the middle of a gzip stream."""
    answer = _gzipped_answer(zlib.compress(b'{"data": []}' + b" " * 1000, wbits=31))
    return hangs_up_after(answer[:-8])


def not_gzip() -> bytes:
    """An answer that declares plain text as gzip."""
    return _gzipped_answer(b'{"data": []}')


@cache
def _packed() -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return b"".join(packer.compress(_PIECE) for _ in range(HUGE // len(_PIECE))) + packer.flush()


def _gzipped_answer(packed: bytes) -> bytes:
    return head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed
