"""lava-nc's channels, as far as this project had to mend them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava

prepare_lava()

from lava.magma.compiler.channels.pypychannel import (  # noqa: E402
    CspRecvPort,
    CspSelector,
    Proto,
)
from lava.magma.compiler.channels.watchdog import NoOPWatchdog  # noqa: E402

SECONDS = 10.0


class Slow(CspRecvPort):  # type: ignore[misc]
    """A port whose thread, if it looks whether messages wait, goes on only when told to."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.looked, self.go_on = threading.Event(), threading.Event()

    def probe(self) -> bool:
        found = bool(super().probe())
        if threading.current_thread() is self.thread and found:
            self.looked.set()
            self.go_on.wait(SECONDS)
        return found


class Memory:
    buf = bytearray(64)


def test_a_message_behind_another_wakes_who_took_the_first() -> None:
    requests, answers = threading.Semaphore(0), threading.Semaphore(0)
    watchdog = NoOPWatchdog(None)
    port = Slow(
        "port", Memory(), Proto((1,), np.int32, 4), 4, requests, answers, watchdog, watchdog
    )
    port.start()
    waiting = threading.Event()

    class Selector(CspSelector):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            wait = self._cv.wait

            def told(timeout: float | None = None) -> bool:
                waiting.set()
                return bool(wait(timeout))

            self._cv.wait = told

    received: list[str] = []

    def owner() -> None:
        selector = Selector()
        for _ in range(2):
            received.append(selector.select((port, lambda: "message")))
            if received == ["message"]:
                requests.release()  # the second message comes while the first is still there
                port.looked.wait(0.5)
            port.recv()

    requests.release()
    port.peek()
    thread = threading.Thread(target=owner, daemon=True)
    thread.start()
    # the port's thread has seen the first message, and its owner waits for the second
    waiting.wait(1.0)
    port.go_on.set()
    thread.join(SECONDS)
    assert received == ["message", "message"]
    port.join()
