"""Memory that Lava's processes share, without names.

lava-nc 0.10.0 has a process of multiprocessing's make blocks of named memory, and speaks to it
through a socket in a folder of its own. A killed run leaves the socket; without memory for a thread
that process never answers, and the blocks stay. Lava's processes are forked and inherit what the
system maps under no name: nothing is left to remove.
"""

from __future__ import annotations

import mmap


class Block:
    """``size`` bytes, zero at first: ``buf``, the same memory in every process forked later.

    Raises ``OSError`` where the system has none.
    """

    def __init__(self, size: int) -> None:
        self.buf = memoryview(mmap.mmap(-1, max(size, 1)))[:size]


class NamelessMemory:
    """Takes the place of Lava's ``SharedMemoryManager``."""

    def start(self) -> None:
        """Nothing is needed before the first block."""

    def shutdown(self) -> None:
        """A block is freed when the last process that maps it drops it or ends."""

    def create_shared_memory(self, size: int) -> Block:
        """A new block."""
        return Block(size)
