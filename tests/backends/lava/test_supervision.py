"""A graph whose processes die while it is built, and what a graph leaves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.lava.runtime.compatibility import prepare_lava
from spikegpt_neuro.errors import RunFailed

prepare_lava()

from lava.magma.core.decorator import implements, requires, tag  # noqa: E402
from lava.magma.core.model.py.model import PyLoihiProcessModel  # noqa: E402
from lava.magma.core.model.py.ports import PyOutPort  # noqa: E402
from lava.magma.core.model.py.type import LavaPyType  # noqa: E402
from lava.magma.core.process.ports.ports import OutPort  # noqa: E402
from lava.magma.core.process.process import AbstractProcess  # noqa: E402
from lava.magma.core.resources import CPU  # noqa: E402
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol  # noqa: E402

from spikegpt_neuro.backends.lava.runtime import supervision  # noqa: E402
from spikegpt_neuro.backends.lava.runtime.memory import Block  # noqa: E402

SECONDS = 20.0


class Fated(AbstractProcess):  # type: ignore[misc]
    """What its model does when it is built: "dies", "raises" or "lives"."""

    def __init__(self, fate: str) -> None:
        super().__init__(fate=fate)
        self.out = OutPort((1,))


@implements(proc=Fated, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FatedModel(PyLoihiProcessModel):  # type: ignore[misc]
    out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters)
        if parameters["fate"] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if parameters["fate"] == "raises":
            raise MemoryError("for a table")

    def run_spk(self) -> None:
        """Sends nothing."""


@pytest.mark.parametrize(("fate", "told"), [("dies", "exit code -9"), ("raises", "for a table")])
def test_a_process_that_is_gone_before_it_is_built_ends_the_building(fate: str, told: str) -> None:
    began = time.monotonic()
    with pytest.raises(RunFailed, match=f"the Lava graph could not be built: .*{told}"):
        supervision.SupervisedGraph(Fated(fate))
    assert time.monotonic() - began < SECONDS


def _named(*folders: str) -> set[Path]:
    return {path for folder in folders for path in Path(folder).iterdir()}


def test_a_graph_has_no_file_and_no_named_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = _named("/dev/shm")
    graph = supervision.SupervisedGraph(Fated("lives"))
    try:
        assert len(graph.process_ids) == 2  # it, and the service of its time steps
        assert not {path.name for path in _named("/dev/shm") - before if "psm" in path.name}
        assert list(tmp_path.iterdir()) == []
        graph.exchange(None, np.zeros((0, 1), np.int32), ())
    finally:
        graph.close()


def test_a_block_is_one_memory_of_all_who_are_forked() -> None:
    block = Block(8)
    assert bytes(block.buf) == bytes(8)
    child = os.fork()
    if child == 0:
        block.buf[3] = 7
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert list(block.buf) == [0, 0, 0, 7, 0, 0, 0, 0]
    assert len(Block(0).buf) == 0
