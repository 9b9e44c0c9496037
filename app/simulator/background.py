"""Work that goes on in the background until it is stopped."""

from __future__ import annotations

import asyncio


async def ended(task: asyncio.Task[None]) -> None:
    """Stop a background task; raises what it failed with, if it failed before."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
