"""What one neuro core holds: its contents, and its limits under a packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.demand import WORD_BYTES, Demand
from spikegpt_neuro.mapping.encoding import BYTE_BITS
from spikegpt_neuro.mapping.synapses import stored_bytes

PACKINGS: Final = ("pessimistic", "middle", "optimistic")
"""How much a core's synaptic memory holds: the worst packing a compiler showed, its whole memory
as listed, nothing lost."""


@dataclass(frozen=True)
class Slice:
    """Channels ``begin`` to ``end - 1`` of a neuron layer on one core, with all their synapses.

    Channels of an image are numbered column by column, so that a slice is a stripe of the image:
    the receptive field of a stripe lies on few cores. ``weights`` counts synapses (a shared kernel
    once), ``words`` state and parameters, ``synapse_bytes`` the memory the synapses take.
    """

    layer: str
    begin: int
    end: int
    weights: int
    words: int
    synapse_bytes: int

    @property
    def neurons(self) -> int:
        """Number of channels."""
        return self.end - self.begin


@dataclass(frozen=True)
class Core:
    """One neuro core's contents."""

    stage: str
    slices: tuple[Slice, ...]

    @property
    def neurons(self) -> int:
        """Neurons on the core."""
        return sum(s.neurons for s in self.slices)

    @property
    def weights(self) -> int:
        """Weights on the core, zeros included."""
        return sum(s.weights for s in self.slices)

    @property
    def synapse_bytes(self) -> int:
        """Bytes of synaptic memory."""
        return sum(s.synapse_bytes for s in self.slices)

    @property
    def bytes(self) -> int:
        """Bytes of synapses, state and per-neuron parameters."""
        return self.synapse_bytes + WORD_BYTES * sum(s.words for s in self.slices)


def weights_per_core(profile: Profile, packing: str) -> int:
    """Bytes of synaptic memory of a core under a packing: as many 8-bit weights as it holds.

    Raises InputError where the profile has none.
    """
    if packing not in PACKINGS:
        raise InputError(f"packing {packing!r} is unknown; allowed: {', '.join(PACKINGS)}.")
    capacity = profile.limit(f"weights_per_core_{packing}")
    if capacity is None or profile.limit("cores_per_chip") is None:
        raise InputError(
            f"The profile {profile.name!r} describes no neuro cores: nothing can be placed.",
            advice="Mapping needs limits.cores_per_chip and limits.weights_per_core_*.",
        )
    return capacity


@dataclass(frozen=True)
class Limits:
    """What one core holds under a packing."""

    synapses: int
    neurons: int
    axons: int
    memory: int
    overhead: int
    word_bits: int
    exact: bool

    @classmethod
    def of(cls, profile: Profile, packing: str) -> Limits:
        """The limits of a profile; what it does not state does not bind."""
        return cls(
            weights_per_core(profile, packing),
            profile.limit("neurons_per_core") or 1 << 30,
            profile.limit("output_axons_per_core") or 1 << 60,
            profile.limit("memory_per_core") or 1 << 60,
            profile.limit("neuron_overhead") or 0,
            profile.limit("synapse_word") or BYTE_BITS,
            packing == "optimistic",
        )

    def hold(self, demand: Demand, neurons: int, axons: int) -> bool:
        """True if so many neurons of a layer, alone on a core, keep all limits."""
        synapses = self.bytes_of(demand, neurons)
        state = neurons * (WORD_BYTES * demand.words_per_neuron + self.overhead)
        return (
            synapses <= self.synapses
            and neurons <= self.neurons
            and neurons * axons <= self.axons
            and synapses + state <= self.memory
        )

    def keeps(self, core: Core) -> bool:
        """True if a core's contents keep all limits but that of axons, or are one neuron."""
        fits = (
            core.synapse_bytes <= self.synapses
            and core.neurons <= self.neurons
            and core.bytes + self.overhead * core.neurons <= self.memory
        )
        return fits or core.neurons == 1

    def bytes_of(self, demand: Demand, neurons: int) -> int:
        """Synaptic memory of so many neurons."""
        return sum(
            stored_bytes(s, neurons, self.word_bits, exact=self.exact) for s in demand.synapses
        )

    def slice_of(self, demand: Demand, begin: int, end: int) -> Slice:
        """The slice of these channels."""
        count = end - begin
        return Slice(
            demand.layer.name, begin, end, demand.weights(count), demand.words_per_neuron * count,
            self.bytes_of(demand, count),
        )  # fmt: skip
