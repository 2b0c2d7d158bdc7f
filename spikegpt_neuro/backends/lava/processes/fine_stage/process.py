"""The hierarchical processes of the fine graph: an embedding, SRWKVs, SRFFNs, a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from spikegpt_neuro.backends.lava.processes.probe.process import Probe
from spikegpt_neuro.backends.lava.runtime.commands import HEADER
from spikegpt_neuro.decomposition.elements import FLAGS
from spikegpt_neuro.decomposition.schedule import StagePlan
from spikegpt_neuro.network.selection import STAGE


class Probing(NamedTuple):
    """What is looked at of a graph.

    A named tuple, as Lava executes this module under a name at which dataclasses do not find it.

    ``wanted``: layers whose values go to the caller, through a pipe of ``buffer_size`` messages a
    stage; ``built`` is told each stage's probe.
    """

    wanted: frozenset[str]
    buffer_size: int
    built: Callable[[Probe], None]


class FineStage(AbstractProcess):
    """A stage whose behaviour is that of the processes inside it.

    Ports: ``a_in`` the value read from the stage before, or the token's spike; ``g_in`` the gates
    of the stage before, of which the last pair is this one's; ``s_out`` the stage's value;
    ``g_out`` its gates, the last pair the next stage's. With ``probing`` there is a probe in it and
    ``c_in``, the commands, for that; without, as on a chip, neither. ``fed_back``: of the first
    stage of a graph that chooses its tokens itself, how many there are; ``f_in`` then brings their
    spikes, each of which says that a token is here.
    """

    def __init__(
        self,
        plan: StagePlan,
        input_size: int,
        gates_before: int,
        probing: Probing | None,
        fed_back: int = 0,
    ) -> None:
        super().__init__(plan=plan, gates_before=gates_before, probing=probing, fed_back=fed_back)
        self.a_in = InPort(shape=(input_size,))
        self.g_in = InPort(shape=(FLAGS * gates_before,))
        if fed_back:
            self.f_in = InPort(shape=(fed_back,))
        if probing is not None:
            self.c_in = InPort(shape=(HEADER,))
        self.s_out = OutPort(shape=(plan.layers[-1].output.size,))
        self.g_out = OutPort(shape=(FLAGS * len(plan.gates),))


class Embedding(FineStage):
    """Rows of a table, and their norm."""


class Srwkv(FineStage):
    """A spiking RWKV stage: linear attention with exponential decay."""


class Srffn(FineStage):
    """A spiking feed-forward stage."""


class Head(FineStage):
    """The final norm and the logits."""


class Selection(FineStage):
    """The choice of the next token."""


FINE_STAGES: dict[str, type[FineStage]] = {
    "srwkv": Srwkv, "srffn": Srffn, "srffn_pre": Srffn, STAGE: Selection,
}  # fmt: skip


def fine_stage_of(stage: str) -> type[FineStage]:
    """The process class of a stage by its name."""
    if stage == "embedding":
        return Embedding
    return FINE_STAGES.get(stage.rsplit(".", 1)[-1], Head)
