"""Several reads at once, a bounded number of them, handed over as they are answered."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")


async def in_flight(
    read: Callable[[K], Coroutine[Any, Any, T]], keys: Iterable[K], limit: int
) -> AsyncGenerator[T, None]:
    """`read(key)` for every key, at most `limit` at a time, in the order of the answers.

    New reads start before an answer is handed over, so that the network works while the caller stores it; answers that
    wait for the caller count up to `limit` more. The first error is raised as it is and ends all others; so does
    closing the generator early.
    """
    todo = iter(keys)
    running: set[asyncio.Task[T]] = set()

    def top_up() -> None:
        free = min(limit - sum(not task.done() for task in running), 2 * limit - len(running))
        running.update(asyncio.create_task(read(key)) for key in islice(todo, free))

    try:
        top_up()
        while running:
            answered, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in answered:
                result = task.result()
                running.discard(task)
                top_up()
                yield result
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
