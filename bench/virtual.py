"""An exporter and an embedded Dify on one virtual clock: days pass in seconds.

Only the network is replaced: requests are answered in the process without delay. A request that has to wait for
``requests_per_second`` advances the clock by exactly that wait; because answers take no time, one thread that waits
sequentially sends at the same instants as several threads in parallel. Between two polls the clock jumps to the next
tick at which something is due, as the loop of the exporter would find it.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import Counter, deque
from itertools import count
from typing import TYPE_CHECKING, Any

from exporter.config import Polling, ServerConfig
from exporter.dify import Client, ConnectFailed, TimedOut
from exporter.dify.transport.messages import Reply, Request
from exporter.polling import TICK, Poller, ServerHealth, TargetStatuses
from exporter.tracking import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import ManualClock
    from exporter.simulator import Api
    from exporter.tracking import ChangeListener, SavedObjects

DEFAULT_POLLING = Polling()


class Since:
    """The clock as one process sees it: the monotonic time starts with the process."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.birth = clock.monotonic()

    def time(self) -> float:
        """Unix seconds."""
        return self._clock.time()

    def monotonic(self) -> float:
        """Seconds since the process started, rounded to the microsecond, so that a tick jumped to has been reached."""
        return round(self._clock.monotonic() - self.birth, 6)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Advance the clock instead of waiting."""
        return self._clock.wait(event, seconds)


class Traffic:
    """Counts requests by endpoint. ``busiest``: the highest number of requests within one second."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.busiest = 0
        self._recent: deque[float] = deque()

    def sent(self, endpoint: str, path: str, now: float) -> None:  # noqa: ARG002 others want the path
        """Record a request. ``now``: seconds of the shared clock."""
        self.requests[endpoint] += 1
        self._recent.append(now)
        # Slots are sums of floats: two slots one second apart may differ by slightly less.
        while self._recent[0] <= now - 1 + 1e-4:
            self._recent.popleft()
        self.busiest = max(self.busiest, len(self._recent))

    @property
    def total(self) -> int:
        """The total number of requests."""
        return sum(self.requests.values())


class VirtualClient(Client):
    """The client, with an embedded server instead of a network. Timeouts take their time on the clock."""

    def __init__(self, server: ServerConfig, api: Api, clock: Since, traffic: Traffic) -> None:
        super().__init__(server, observer=_Nobody(), clock=clock, user_agent="bench", exchange=self._answer)
        self._api = api
        self._traffic = traffic
        self._virtual = clock
        self._seconds = server.timeout

    def _answer(self, request: Request) -> Reply:
        self._traffic.sent(request.endpoint, request.path, self._virtual.birth + self._virtual.monotonic())
        path, _, query = request.path.partition("?")
        headers = {"authorization": f"Bearer {request.key.reveal()}"} if request.key else {}
        response = self._api.handle("GET", f"/v1/{path}", query, headers)
        if response.delivery.cut:
            raise ConnectFailed(f"{request.endpoint}: connection closed")
        if response.delivery.delay >= self._seconds:
            self._virtual.wait(self.stop, self._seconds)
            raise TimedOut(f"{request.endpoint}: no answer")
        return Reply(response.status, dict(response.headers), response.body)


class Exporter:
    """The exporter without threads and web server, on one server. A new object with its own clock is a new process."""

    def __init__(
        self,
        server: ServerConfig,
        api: Api,
        clock: Since,
        *,
        listener: ChangeListener,
        traffic: Traffic,
        polling: Polling = DEFAULT_POLLING,
        state: ChangeListener | None = None,
        saved: SavedObjects | None = None,
    ) -> None:
        self.clock = clock
        self._stop = threading.Event()
        statuses = TargetStatuses(server.name, listener=listener)
        nobody = _Nobody()
        self.store = Store(
            server.name,
            statuses.watched,
            listeners=(listener,) if state is None else (state, listener),
            unknown=nobody.seen,
            clock=clock,
        )
        if saved is not None:
            self.store.restore(saved)
        health = ServerHealth(server.name, server.url, listener=listener, polling=polling, random=lambda: 0.5)
        client = VirtualClient(server, api, clock, traffic)
        self.poller = Poller(
            server,
            client,
            self.store,
            statuses,
            health,
            polling=polling,
            observer=nobody,
            clock=clock,
            jitter=lambda: 0.5,
        )

    def next_tick(self) -> float:
        """The next tick with something due, on the shared clock; infinite when nothing is scheduled."""
        due = self.poller.schedule.next_due()
        if due is None:
            return math.inf
        return self.clock.birth + max(math.ceil(due / TICK) * TICK, self.clock.monotonic())

    def poll(self) -> None:
        """Poll everything that is due."""
        self.poller.work(self._stop)


class Course:
    """A timetable of events. ``run`` triggers them and lets the exporter poll in between."""

    def __init__(self, clock: ManualClock) -> None:
        self.exporter: Exporter | None = None
        self._clock = clock
        self._entries: list[tuple[float, int, Callable[[], Any]]] = []
        self._order = count()

    def enter(self, instant: float, happen: Callable[[], Any]) -> None:
        """Schedule ``happen`` at a monotonic second of the shared clock."""
        heapq.heappush(self._entries, (instant, next(self._order), happen))

    def run(self, end: float) -> None:
        """Run until ``end``. No event is early; events are late only while the exporter waits for its budget."""
        while True:
            tick = self.exporter.next_tick() if self.exporter else math.inf
            entry = self._entries[0][0] if self._entries else math.inf
            if min(tick, entry) > end:
                break
            self._jump(min(tick, entry))
            if entry <= tick:
                heapq.heappop(self._entries)[2]()
            elif self.exporter:
                self.exporter.poll()
        self._jump(end)

    def _jump(self, instant: float) -> None:
        self._clock.advance(max(0.0, instant - self._clock.monotonic()))


class _Nobody:
    """Counts nothing."""

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Ignore it."""

    def throttled(self, server: str, seconds: float) -> None:
        """Ignore it."""

    def polled(self, server: str, kind: str) -> None:
        """Ignore it."""

    def poll_failed(self, server: str, kind: str, reason: str) -> None:
        """Ignore it."""

    def unknown_value(self, server: str, field: str) -> None:
        """Ignore it."""

    def seen(self, field: str) -> None:
        """Ignore it."""
