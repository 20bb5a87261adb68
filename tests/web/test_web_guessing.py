"""Guessing passwords: it delays the one who guesses, and locks out nobody."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import bcrypt
import pytest

from exporter.clock import ManualClock
from exporter.web.connections import ClientConnections, ConnectionState
from exporter.web.guesses import FORGIVEN_AFTER, MAX_DELAY, TOLERATED, FairQueue, Guesses, client_of
from exporter.web.passwords import MAX_WAITING_PER_ADDRESS, PasswordResult, PasswordVerifier
from tests.web.fake_bcrypt import USERS, FakeBcrypt, eventually, run, until

if TYPE_CHECKING:
    from tests.web.conftest import LoadWebConfig, StartApp
    from tests.web.fake_bcrypt import Verify

CORRECT, WRONG, BUSY = PasswordResult.CORRECT, PasswordResult.WRONG, PasswordResult.BUSY
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_one_customer_is_one_client(host: str, client: str) -> None:
    """An IPv6 network of 64 bits counts as one client, because its addresses cost its owner nothing."""
    assert client == client_of(host)


def test_wrong_passwords_are_tolerated_delayed_and_forgiven() -> None:
    """A few wrong passwords have no consequences, more of them double the delay up to a limit; time undoes both."""
    clock = ManualClock()
    guesses = Guesses(clock.monotonic)
    delays = []
    for _ in range(TOLERATED + 8):
        guesses.add("a")
        delays.append(guesses.delay("a"))

    assert [0.0] * TOLERATED + [1.0, 2.0, 4.0, 8.0, 16.0, MAX_DELAY, MAX_DELAY, MAX_DELAY] == delays
    assert (True, False) == (guesses.is_suspect("a"), guesses.is_suspect("b"))

    clock.advance(8 * FORGIVEN_AFTER)
    assert (0.0, False) == (guesses.delay("a"), guesses.is_suspect("a"))


def test_memory_of_guesses_is_bounded() -> None:
    """Clients without end do not use memory without end."""
    guesses = Guesses()
    for number in range(10_000):
        guesses.add(str(number))

    assert 5_000 > len(guesses._counts)
    assert 1 == round(guesses.count("9999"))


def test_clients_take_turns() -> None:
    """Each client in turn, with its oldest and its newest item alternately."""
    queue: FairQueue[str, str] = FairQueue()
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.push(item[0], item)

    assert ["a1", "b1", "c1", "a4", "b2", "a2", "a3", None] == [queue.pop(lambda _: True) for _ in range(8)]


def test_clients_of_the_lowest_rank_come_first() -> None:
    """A client without wrong passwords comes before those with some."""
    queue: FairQueue[str, str] = FairQueue()
    for item in ("a1", "a2", "b1", "c1"):
        queue.push(item[0], item)

    assert ["c1", "a1", "a2", "b1"] == [queue.pop(lambda _: True, "cab".index) for _ in range(4)]


def test_only_eligible_clients_have_turns() -> None:
    """Items of other clients stay where they are, unless they are removed."""
    queue: FairQueue[str, str] = FairQueue()
    for item in ("a1", "b1", "b2"):
        queue.push(item[0], item)

    assert None is queue.pop(lambda client: client == "c")
    assert ["b1", "b2"] == [queue.pop(lambda client: client == "b") for _ in range(2)]
    queue.push("b", "b3")
    assert ["b3"] == queue.remove(lambda item: item == "b3")
    assert (1, 1, 0) == (len(queue), queue.count("a"), queue.count("b"))


def _guess(verify: Verify, count: int, address: str = "10.0.0.9") -> list[asyncio.Task[PasswordResult]]:
    """Different wrong passwords, all at once."""
    return [
        asyncio.create_task(eventually(verify(b"alice", b"%s %d" % (address.encode(), number), address)))
        for number in range(count)
    ]


def test_guesses_from_many_addresses_delay_others_by_one() -> None:
    """The first request of a client waits for at most one verification, whoever guesses, as often as they may."""
    check = FakeBcrypt()

    async def main(verify: Verify) -> None:
        for number in range(8):  # all of them become suspect
            assert [WRONG] * 5 == await asyncio.gather(*_guess(verify, 5, f"10.0.1.{number}"))
        check.calls.clear()
        check.gate.clear()
        guesses = [guess for number in range(8) for guess in _guess(verify, 60, f"10.0.1.{number}")]
        await asyncio.sleep(0)
        scrape = asyncio.create_task(eventually(verify(b"bob", b"bob", "10.0.0.2")))
        await asyncio.sleep(0)
        await until(lambda: len(check.calls) == 2)  # both threads are busy: that for suspects, and that for others
        check.gate.set()
        assert CORRECT is await scrape
        assert b"bob" in [password for password, _ in check.calls[:2]]
        for guess in guesses:
            guess.cancel()

    run(main, check)


def test_scrape_from_the_address_of_a_guesser() -> None:
    """Behind the same address as 60 guesses at once, a request still comes next but one."""
    check = FakeBcrypt()

    async def main(verify: Verify) -> None:
        await asyncio.gather(*_guess(verify, 5, "10.0.0.1"))
        check.calls.clear()
        check.gate.clear()
        guesses = _guess(verify, 60, "10.0.0.1")
        await asyncio.sleep(0)
        scrape = asyncio.create_task(eventually(verify(b"bob", b"bob", "10.0.0.1")))
        await asyncio.sleep(0)
        check.gate.set()
        assert CORRECT is await scrape
        assert b"bob" in [password for password, _ in check.calls[:3]]
        for guess in guesses:
            guess.cancel()

    run(main, check)


def test_expensive_guesses_block_nobody() -> None:
    """While guesses cost many seconds each, the passwords of other clients are verified."""
    check = FakeBcrypt(held=b"expensive")

    async def main(verify: Verify) -> None:
        await asyncio.gather(*_guess(verify, 5))
        check.gate.clear()
        passwords = [b"expensive%d" % number for number in range(3)]
        guesses = [asyncio.create_task(eventually(verify(b"alice", each, "10.0.0.9"))) for each in passwords]
        await until(lambda: check.inside == 1)

        assert CORRECT is await verify(b"alice", b"alice", "10.0.0.2")
        assert not any(guess.done() for guess in guesses)
        check.gate.set()
        assert [WRONG] * 3 == await asyncio.gather(*guesses)

    run(main, check)


def test_extreme_costs_delay_no_quick_verification() -> None:
    """While hashes of cost 18 are verified, for clients that have never guessed, others are verified."""
    check = FakeBcrypt(held=b"eve")
    users = {**USERS, b"eve": b"$2b$18$eve"}

    async def main(verify: Verify) -> None:
        check.gate.clear()
        hosts = [f"10.0.1.{number}" for number in range(3)]
        expensive = [asyncio.create_task(eventually(verify(b"eve", b"eve", host, users=users))) for host in hosts]
        await until(lambda: check.inside == 1)

        assert CORRECT is await verify(b"alice", b"alice", "10.0.0.2", users=users)
        assert not any(each.done() for each in expensive)
        check.gate.set()
        assert [CORRECT] * 3 == await asyncio.gather(*expensive)

    run(main, check)


def test_only_guessing_is_delayed() -> None:
    """Wrong passwords of a guesser are answered late. The right one is not, nor one wrong password sent repeatedly."""
    check = FakeBcrypt()
    delays: list[float] = []

    async def main(verify: Verify) -> None:
        for number in range(TOLERATED + 2):
            assert WRONG is await verify(b"alice", b"%d" % number)
        assert [0] * TOLERATED + [1, 2] == [round(delay) for delay in delays]
        assert CORRECT is await verify(b"alice", b"alice")
        for _ in range(100):
            assert WRONG is await verify(b"alice", b"outdated", "10.0.0.2")
        assert WRONG is await verify(b"alice", b"new", "10.0.0.2")

    run(main, check, delays=delays)

    assert [0, 0] == delays[TOLERATED + 2 :]


def test_wrong_passwords_are_answered_after_those_that_wait() -> None:
    """While others behind the same address wait, even the first wrong passwords are answered late."""
    check = FakeBcrypt()
    delays: list[float] = []

    async def main(verify: Verify) -> None:
        check.gate.clear()
        guesses = _guess(verify, 4)
        await until(lambda: check.inside == 2)
        check.gate.set()
        await asyncio.gather(*guesses)

    run(main, check, delays=delays)

    assert 1.0 <= max(delays[:2])


def test_too_many_waiting_passwords_of_one_address() -> None:
    """Beyond the limit the answer is an immediate "busy", for this client only. Who has disconnected makes room."""
    check = FakeBcrypt()
    gone: list[int] = []

    async def main(verify: Verify) -> None:
        check.gate.clear()
        running = _guess(verify, 2)
        await asyncio.sleep(0)
        waiting = [
            asyncio.create_task(eventually(verify(b"alice", b"x%d" % number, "10.0.0.9", connected=lambda: not gone)))
            for number in range(MAX_WAITING_PER_ADDRESS)
        ]
        await asyncio.sleep(0)
        assert BUSY is await verify(b"alice", b"alice", "10.0.0.9")
        other = asyncio.create_task(eventually(verify(b"bob", b"bob", "10.0.0.2")))
        await asyncio.sleep(0)

        gone.append(1)
        scrape = asyncio.create_task(eventually(verify(b"alice", b"alice", "10.0.0.9")))
        await asyncio.sleep(0)
        check.gate.set()
        assert [CORRECT, CORRECT, WRONG, WRONG] == await asyncio.gather(other, scrape, *running)
        assert {BUSY} == set(await asyncio.gather(*waiting))

    run(main, check)

    assert 4 == len(check.calls)  # none for those who have disconnected


def test_result_for_a_client_that_has_disconnected() -> None:
    """A verification that takes longer than a scrape's time-out is not wasted: the next scrape is accepted at once."""
    check = FakeBcrypt()
    gone: list[int] = []

    async def main(verify: Verify) -> None:
        check.gate.clear()
        scrape = asyncio.create_task(eventually(verify(b"alice", b"alice", connected=lambda: not gone)))
        await asyncio.sleep(0)
        gone.append(1)
        scrape.cancel()
        check.gate.set()
        await until(lambda: bool(check.calls) and not check.inside)
        assert CORRECT is await verify(b"alice", b"alice")

    run(main, check)

    assert 1 == len(check.calls)


def test_stopping_waits_for_no_password() -> None:
    """When the server stops, passwords that wait or run are given up, and delayed answers are sent."""
    check = FakeBcrypt()

    async def main() -> None:
        verifier = PasswordVerifier(check)
        delayed = [
            asyncio.create_task(verifier.verify(USERS, (b"alice", b"%d" % number), "10.0.0.1"))
            for number in range(TOLERATED + 1)
        ]
        await until(lambda: len(check.calls) == len(delayed))
        check.gate.clear()
        waiting = [
            asyncio.create_task(verifier.verify(USERS, (b"alice", b"x%d" % number), "10.0.0.2")) for number in range(3)
        ]
        await asyncio.sleep(0.01)
        verifier.release()
        assert [WRONG] * len(delayed) == await asyncio.wait_for(asyncio.gather(*delayed), 30)
        assert [BUSY] * 3 == await asyncio.wait_for(asyncio.gather(*waiting), 30)
        check.gate.set()
        verifier.close()

    asyncio.run(main())


def test_failing_verification_is_an_error() -> None:
    """A bug does not leave a request waiting for ever."""

    def fail(_password: bytes, _hashed: bytes) -> bool:
        raise ZeroDivisionError

    verifier = PasswordVerifier(fail)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(verifier.verify(USERS, (b"alice", b"alice"), "x"))
    verifier.close()


def _basic(text: bytes) -> str:
    return (b"Basic " + base64.b64encode(text)).decode()


def test_too_many_requests(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """When too many passwords of an address wait, the answer is 429 with Retry-After."""
    client = start_app(server={"web_config": load_web_config(f"basic_auth_users: {{alice: {HASH}}}")})
    check = FakeBcrypt()
    check.gate.clear()
    client.server._verifier._check = check
    answers: list[int] = []

    def guess(number: int) -> None:
        answers.append(client.request("/", authorization=_basic(b"alice:%d" % number)).status)

    guesses = [threading.Thread(target=guess, args=(number,)) for number in range(MAX_WAITING_PER_ADDRESS + 3)]
    for each in guesses:
        each.start()
    while 429 not in answers:
        threading.Event().wait(0.01)
    busy = client.request("/", authorization=_basic(b"alice:secret"))
    client.server._verifier._sleep = _no_time
    check.gate.set()
    for each in guesses:
        each.join(60)

    assert (429, "1") == (busy.status, busy.headers["retry-after"])
    assert [401] * (MAX_WAITING_PER_ADDRESS + 2) + [429] == sorted(answers)


async def _no_time(_seconds: float) -> None:
    pass


def test_guesses_do_not_occupy_all_connections(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """Connections whose password waits to be verified are closed to make room for others."""
    web_config = load_web_config(f"basic_auth_users: {{alice: {HASH}}}")
    client = start_app(server={"web_config": web_config, "limit": 20})
    check = FakeBcrypt(held=b"wrong")
    check.gate.clear()
    client.server._verifier._check = check
    request = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n" % _basic(b"alice:wrong").encode()
    with ExitStack() as guessers:
        for _ in range(40):
            guesser = guessers.enter_context(socket.create_connection(("127.0.0.1", client.server.port), 30))
            guesser.sendall(request)
        with closing(http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=30)) as scraper:
            scraper.request("GET", "/-/healthy")
            assert 200 == scraper.getresponse().status
        check.gate.set()


def test_connections_of_one_ipv6_network_are_one_client() -> None:
    """When there are too many connections, those of one IPv6 network count together."""
    connections = ClientConnections(limit=4)
    hosts = ["2001:db8::1", "10.0.0.1", "10.0.0.1", "2001:db8::2", "2001:db8::3"]
    with ExitStack() as sockets:
        for host in hosts:
            assert connections.add(sockets.enter_context(socket.socket()), host)
        clients = sorted(each.client for each in connections._open.values())

    assert ["10.0.0.1", "10.0.0.1", "2001:db8::/64", "2001:db8::/64"] == clients


def test_connection_of_an_unverified_client_is_dispensable() -> None:
    """An answer is finished, unless its client's password is still being verified."""
    connections = ClientConnections()
    with socket.socket() as accepted:
        connections.add(accepted, "10.0.0.1")
        (connection,) = connections._open.values()
        connections.set_state(connection, ConnectionState.ANSWERING)
        assert not connection.dispensable
        with connection.unverified():
            assert connection.dispensable
        assert not connection.dispensable
