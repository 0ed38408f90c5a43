"""Waiting by asyncio: for the file descriptor of an end, which a task arms before it waits."""

import asyncio

from ._psyne import Closed, PeerDied

# Descriptors that a task waits for: a loop calls back one reader of each.
_waiting = set()


async def _ready(end):
    """Returns when taking is worth it; raises what there is to say of the other side."""
    loop = asyncio.get_running_loop()
    fd = end.fileno()
    if fd in _waiting:
        raise RuntimeError("another task waits at this end")
    _waiting.add(fd)
    try:
        while not end.arm():
            woken = loop.create_future()
            loop.add_reader(fd, lambda: woken.done() or woken.set_result(None))
            try:
                await woken
            finally:
                loop.remove_reader(fd)
    finally:
        _waiting.discard(fd)


async def take(end, verb):
    """The next of what `verb` takes."""
    while True:
        taken = getattr(end, verb)()
        if taken is not None:
            return taken
        await _ready(end)


async def next(end, verb):
    """The same for `async for`: the end of the channel is the end of the loop."""
    try:
        return await take(end, verb)
    except Closed:
        raise StopAsyncIteration from None


async def next_living(end, verb):
    """The same for who goes on when one of many others dies."""
    while True:
        try:
            return await next(end, verb)
        except PeerDied:
            pass
