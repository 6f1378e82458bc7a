"""Several servers with the same model: which is well, which has room, and when to give up.

All of it runs in one asyncio loop. A server that cannot be reached, or that fails three times in a
row, is down: it gets no question until it says again that it is well and has the same model.
"""

import asyncio
import collections
import time
from collections.abc import Callable

from curation.captions.served import Served, look
from curation.captions.transport import Address, Connections, Failed
from dynamicrafter.errors import InputError, MachineError, ToolkitError

FAILURES = 3  # in a row, after which a server is down
FIRST_PAUSE_S, SLOWER, LONGEST_PAUSE_S = 1.0, 1.5, 15.0  # between looks at a server that is down


class Server:
    """One server, as it was last seen."""

    def __init__(self, address: Address):
        self.address = address
        self.is_up = False
        self.load = 0  # questions at it now
        self.failures = 0  # in a row
        self.fingerprint: str | None = None
        self.trouble = ""


class Servers:
    """The servers of a client.

    Attributes:
        served: the model that all of them have; known once `start` has returned.
    """

    served: Served

    def __init__(
        self,
        connections: Connections,
        addresses: list[Address],
        model: str | None,
        slots: int,
        wait_s: float,
        changed: Callable[[], None],
        end: Callable[[ToolkitError], None],
    ):
        """Look at nothing yet.

        Args:
            connections: to look through.
            addresses: of the servers, each once.
            model: to look for; None: the only one that is listed.
            slots: questions at one server at once.
            wait_s: how long all may be down.
            changed: is called when one went down or came back.
            end: is called when there is no going on.
        """
        self._connections, self._model = connections, model
        self._slots, self._wait_s = slots, wait_s
        self._servers = [Server(address) for address in addresses]
        self._changed, self._end = changed, end
        self._waiting: collections.deque[asyncio.Future[Server]] = collections.deque()
        self._watches: set[asyncio.Task[None]] = set()
        self._first: tuple[Address, Served] | None = None
        self._down_since = time.monotonic()
        self._ready = asyncio.Event()

    @property
    def up(self) -> int:
        """How many are well."""
        return sum(server.is_up for server in self._servers)

    async def start(self) -> None:
        """Look at every server once, then wait until one is well.

        Raises:
            InputError: two have different models, or one cannot be used at all.
        """
        self._down_since = time.monotonic()
        await asyncio.gather(*(self._look_once(server) for server in self._servers))
        for server in self._servers:
            if not server.is_up:
                self._watch(server)
        await self._ready.wait()

    async def acquire(self) -> Server:
        """The least busy server that is well, in the order of asking; waits for one."""
        turn: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grant()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())
            raise

    def release(self, server: Server) -> None:
        """Give its place at a server back."""
        server.load -= 1
        self._grant()

    def answered(self, server: Server) -> None:
        """A server did answer, whatever it said."""
        server.failures = 0

    def failed(self, server: Server, reason: str, message: str) -> None:
        """A server did not answer, or with an error of its own."""
        server.failures += 1
        server.trouble = message
        if server.is_up and (reason == "unavailable" or server.failures >= FAILURES):
            server.is_up = False
            if not self.up:
                self._down_since = time.monotonic()
            self._watch(server)
            self._changed()

    async def compare(self, server: Server) -> None:
        """Look at a server now.

        Raises:
            Failed: it is not well.
            InputError: its model is not that of the others, or not what it was.
        """
        found = await look(self._connections, server.address, self._model)
        if self._first is None:
            self._first = (server.address, found)
            self.served = found
        elif found.identity != self.served.identity:
            raise InputError(self._differs(server.address, found))

    def stop(self) -> None:
        """Look at nothing any more."""
        for watch in self._watches:
            watch.cancel()

    def _grant(self) -> None:
        while self._waiting:
            free = [s for s in self._servers if s.is_up and s.load < self._slots]
            if not free:
                return
            turn = self._waiting.popleft()
            if not turn.done():
                server = min(free, key=lambda s: s.load)
                server.load += 1
                turn.set_result(server)

    async def _look_once(self, server: Server) -> None:
        try:
            await self.compare(server)
        except Failed as failure:
            server.trouble = str(failure)
            return
        server.is_up, server.failures = True, 0
        self._ready.set()
        self._changed()
        self._grant()

    def _watch(self, server: Server) -> None:
        watch = asyncio.get_running_loop().create_task(self._until_well(server))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _until_well(self, server: Server) -> None:
        pause = FIRST_PAUSE_S if not self._ready.is_set() else 0.0
        try:
            while True:
                left = self._wait_s - (time.monotonic() - self._down_since)
                await asyncio.sleep(pause if self.up else min(pause, max(left, 0.0)))
                await self._look_once(server)
                if server.is_up:
                    return
                if not self.up and time.monotonic() - self._down_since >= self._wait_s:
                    raise MachineError(self._nobody())
                pause = min(max(pause * SLOWER, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        except ToolkitError as error:
            self._end(error)

    def _differs(self, address: Address, found: Served) -> str:
        was_at, was = self._first or (address, self.served)
        place = "it" if was_at == address else was_at.url
        return (
            f"{address.url} has {found.identity!r}, but {place} had {was.identity!r}; a run is "
            "made by one model: give all servers the same, or choose another run_dir"
        )

    def _nobody(self) -> str:
        urls = ", ".join(server.address.url for server in self._servers)
        last = next((server.trouble for server in self._servers if server.trouble), "no answer")
        return f"no server answered for {self._wait_s:.0f} s: {urls} ({last}); start it and go on"
