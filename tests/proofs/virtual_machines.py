"""Machines in virtual time: real threads that take turns, and a clock that moves only when all of them wait.

Code under test keeps its own threads, locks, queues and deadlines; only where they come from is replaced (`ClockModule`
for `time`, `ThreadingModule` for `threading`). One thread runs at a time, so a run repeats exactly under its seed.
A machine can lose its power at any moment: its threads end where they wait, and nothing of theirs goes on.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

S_NS = 1_000_000_000
_START_NS = 1000 * S_NS
_MOST_TURNS_A_MOMENT = 20_000


class PowerOff(BaseException):
    """Raised where a thread waits, on a machine whose power is gone; not to be caught."""


class Machine:
    """A device between two reboots, or a process of a host."""

    def __init__(self, name: str) -> None:
        self.name, self.is_off = name, False


class Thread:
    """As threading.Thread; it runs when it is given a turn, until it waits."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", daemon: bool = True,
                 *, turns: "Turns", machine: Machine) -> None:  # fmt: skip
        self.name, self.daemon, self.machine = name, daemon, machine
        self.ended, self.error = False, None
        self.ready: Callable[[], bool] = lambda: True
        self.wake_ns: int | None = None
        self._turns, self._target, self._args = turns, target, args
        self._turn = threading.Lock()
        self._turn.acquire()
        self._real = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        if not self.machine.is_off:
            self._turns.threads.append(self)
            self._real.start()

    def join(self, timeout: float | None = None) -> None:
        self._turns.wait(lambda: self.ended, timeout)

    def is_alive(self) -> bool:
        return not self.ended

    def take_turn(self) -> None:
        """Run until it waits again, or ends."""
        self._turns.current, self.wake_ns = self, None
        self._turn.release()
        self._turns.back.acquire()
        self._turns.current = None
        if self.ended:
            self._real.join()
            self._turns.threads.remove(self)
            if self.error is not None:
                raise self.error

    def give_turn(self) -> None:
        """Called by itself: let others run until it is given a turn again."""
        self._turns.back.release()
        self._turn.acquire()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self.machine.is_off:
                self._target(*self._args)
        except PowerOff:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self._turns.back.release()


class Turns:
    """Whose turn it is, and what time it is (ns). `order` draws whether the oldest or the youngest goes first."""

    def __init__(self, order: random.Random) -> None:
        self.now_ns = _START_NS
        self.threads: list[Thread] = []
        self.current: Thread | None = None
        self.back = threading.Lock()
        self.back.acquire()
        self.turns = 0
        self._order = order

    def spawn(self, machine: Machine, target: Callable[..., object], *args: object) -> Thread:
        thread = Thread(target, args, turns=self, machine=machine)
        thread.start()
        return thread

    def wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Called by a thread: let others run until `ready`, which is returned, or for so long at most."""
        thread = self.current
        assert thread is not None, "only threads of a machine wait"
        if thread.machine.is_off:
            raise PowerOff
        if not ready():
            thread.ready = ready
            thread.wake_ns = None if timeout_s is None else self.now_ns + max(1, math.ceil(timeout_s * 1e9))
            thread.give_turn()
            if thread.machine.is_off:
                raise PowerOff
        return ready()

    def settle(self) -> None:
        """Let every thread run that can, until all wait for something else or for another time."""
        limit, again = self.turns + _MOST_TURNS_A_MOMENT, True
        while again:
            again = False
            for thread in self.threads[:: 1 if self._order.getrandbits(1) else -1]:
                if not thread.ended and (thread.ready() or self._is_awake(thread)):
                    self.turns, again = self.turns + 1, True
                    thread.take_turn()
            assert self.turns < limit, f"threads that never wait: {[each.name for each in self.threads]}"

    def due_ns(self) -> int | None:
        """When the next thread stops waiting by itself."""
        return min((each.wake_ns for each in self.threads if each.wake_ns is not None), default=None)

    def power_off(self, machine: Machine) -> None:
        """End a machine's threads where they wait."""
        machine.is_off = True
        for thread in [each for each in self.threads if each.machine is machine]:
            thread.take_turn()
            assert thread.ended

    def _is_awake(self, thread: Thread) -> bool:
        return thread.wake_ns is not None and thread.wake_ns <= self.now_ns


class ClockModule:
    """Stands in for the module `time`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.monotonic_ns = self.perf_counter_ns = lambda: turns.now_ns
        self.monotonic = self.perf_counter = lambda: turns.now_ns / 1e9
        self.process_time_ns, self.get_clock_info, self.time = time.process_time_ns, time.get_clock_info, time.time

    def sleep(self, duration_s: float) -> None:
        self._turns.wait(lambda: False, duration_s)


def threading_module(turns: Turns) -> SimpleNamespace:
    """Stands in for the module `threading`; new threads belong to the machine of the one that makes them."""

    def thread(
        target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", daemon: bool = True
    ) -> Thread:
        assert turns.current is not None
        return Thread(target, args, name, daemon, turns=turns, machine=turns.current.machine)

    return SimpleNamespace(
        Thread=thread,
        Lock=lambda: Lock(turns),
        Condition=lambda lock: Condition(turns, lock),
        Event=lambda: Event(turns),
        Semaphore=lambda value=1: Semaphore(turns, value),
        current_thread=lambda: turns.current,
    )


class Lock:
    def __init__(self, turns: Turns) -> None:
        self._turns, self._is_free = turns, True

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._is_free and not (blocking and self._turns.wait(lambda: self._is_free, _limit(timeout))):
            return False
        self._is_free = False
        return True

    def release(self) -> None:
        self._is_free = True

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    def __init__(self, turns: Turns, lock: Lock) -> None:
        self._turns, self._lock = turns, lock
        self._waiting: deque[list[bool]] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        told = [False]
        self._waiting.append(told)
        self._lock.release()
        self._turns.wait(lambda: told[0], timeout)
        if not told[0]:
            self._waiting.remove(told)
        self._lock.acquire()
        return told[0]

    def notify(self) -> None:
        if self._waiting:
            self._waiting.popleft()[0] = True

    def notify_all(self) -> None:
        while self._waiting:
            self.notify()


class Event:
    def __init__(self, turns: Turns) -> None:
        self._turns, self._is_set = turns, False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        return self._turns.wait(lambda: self._is_set, timeout)


class Semaphore:
    def __init__(self, turns: Turns, value: int) -> None:
        self._turns, self._value = turns, value

    def acquire(self, timeout: float | None = None) -> bool:
        if self._turns.wait(lambda: self._value > 0, timeout):
            self._value -= 1
            return True
        return False

    def release(self) -> None:
        self._value += 1


class Queue:
    """As queue.SimpleQueue; `most` is how many items it ever held."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._items, self.most = turns, deque[Any](), 0

    def put(self, item: object) -> None:
        self._items.append(item)
        self.most = max(self.most, len(self._items))

    def get(self) -> Any:
        self._turns.wait(lambda: bool(self._items))
        return self._items.popleft()


def _limit(timeout: float) -> float | None:
    return None if timeout < 0 else timeout
