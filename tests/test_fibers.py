"""Functions that pause in an event loop and go on later, one after the other in the same fiber."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Any

from serving.fibers import MOST_FREE, Fiber, Fibers, current, signal


def in_loop(use: Callable[[Fibers], Any]) -> Any:
    """What a function returns that is called in an event loop, with fibers of that loop."""

    async def call() -> Any:
        result = use(Fibers(asyncio.get_running_loop()))
        return await asyncio.wait_for(result, 10) if asyncio.isfuture(result) else result

    return asyncio.run(call())


class Thing:
    """Something that weak references can be made to."""


def test_what_does_not_pause_is_over_at_once() -> None:
    def use(fibers: Fibers) -> list[int]:
        results: list[int] = []
        fibers.run(lambda: 1, results.append)
        return results

    assert in_loop(use) == [1]


def test_who_waits_lets_others_go_on_and_is_woken_by_another_thread() -> None:
    def use(fibers: Fibers) -> Any:
        done = asyncio.get_running_loop().create_future()
        order: list[str] = []

        def waits() -> list[str]:
            waited = signal(current())
            threading.Thread(target=waited.release).start()
            waited.acquire()
            return [*order, "woken"]

        fibers.run(waits, done.set_result)
        fibers.run(lambda: "meanwhile", order.append)
        return done

    assert in_loop(use) == ["meanwhile", "woken"]


def test_a_fiber_is_used_again_and_keeps_nothing_of_what_it_ran() -> None:
    def use(fibers: Fibers) -> tuple[bool, Any, Any]:
        ran_in: list[Fiber | None] = []
        thing, result = Thing(), Thing()
        references = weakref.ref(thing), weakref.ref(result)

        def first(thing: Thing, result: Thing) -> Thing:
            ran_in.append(current())
            return result

        fibers.run(lambda thing=thing, result=result: first(thing, result), lambda _: None)  # type: ignore[misc]
        del thing, result
        kept = references[0](), references[1]()
        fibers.run(lambda: ran_in.append(current()), lambda _: None)
        return ran_in[0] is ran_in[1] is not None, *kept

    assert in_loop(use) == (True, None, None)


def test_of_many_fibers_some_are_kept() -> None:
    def use(fibers: Fibers) -> Any:
        signals = []
        done = asyncio.get_running_loop().create_future()
        left = [2 * MOST_FREE]

        def waits() -> Any:
            signals.append(signal(current()))
            signals[-1].acquire()
            return weakref.ref(current())  # type: ignore[type-var]

        def ended(reference: Any) -> None:
            references.append(reference)
            left[0] -= 1
            if not left[0]:
                asyncio.get_running_loop().call_soon(
                    lambda: done.set_result(sum(its() is not None for its in references))
                )

        references: list[Any] = []
        for _ in range(2 * MOST_FREE):
            fibers.run(waits, ended)
        for each in signals:
            each.release()
        signals.clear()
        done.fibers = fibers  # type: ignore[attr-defined]
        return done

    assert in_loop(use) == MOST_FREE
