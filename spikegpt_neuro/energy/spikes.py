"""Where spikes enter a network and where they do not, in plain sentences."""

from __future__ import annotations

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.network import TOKEN, Chain, Network


def _readers(network: Network, name: str) -> list[str]:
    """Kinds of the layers that read ``name``, seen through wiring and delays."""
    kinds = []
    for reader in network.graph.successors(name):
        layer = network[reader]
        if layer.forwards:
            kinds += _readers(network, reader)
        else:
            kinds.append(layer.kind)
    return kinds


def takes_spikes(network: Network, name: str) -> bool:
    """True when every operand of a projection is a LIF neuron's spike, binary or graded."""
    layer = network[name]
    raster = layer.role == "input" and not layer.inputs
    if layer.fires or (raster and layer.output.bits == 1):
        return True
    if layer.role == "synapse" or layer.forwards:
        return all(s != TOKEN and takes_spikes(network, s) for s in layer.inputs)
    return False


def spike_statement(network: Network, layers: tuple[LayerActivity, ...]) -> tuple[str, ...]:
    """What an honest report says about spikes in this network, from the operands that occurred."""
    dense = [layer for layer in layers if layer.role == "synapse"]
    binary = [layer for layer in dense if layer.operand == "binary"]
    spiking = [layer for layer in dense if takes_spikes(network, layer.name)]
    operations = sum(layer.synaptic_operations for layer in dense)
    additions = sum(layer.accumulates for layer in dense)
    share = additions / operations if operations else 0.0
    sentences = [
        f"{len(spiking)} of {len(dense)} projections take spikes of LIF neurons.",
        f"{len(binary)} of {len(dense)} projections took only operands 0 and ±1 (additions, AC); "
        f"{len(dense) - len(binary)} took graded operands (multiplications, MAC).",
        f"{100 * share:.1f} % of the synaptic operations are additions.",
    ]
    by_reader: dict[str, int] = {}
    for name in network.spiking_layers:
        for kind in sorted(set(_readers(network, name))):
            by_reader[kind] = by_reader.get(kind, 0) + 1
    if by_reader:
        named = ", ".join(f"{kind} ({count})" for kind, count in sorted(by_reader.items()))
        sentences.append(f"Spikes of the {len(network.spiking_layers)} LIF layers go to: {named}.")
    if isinstance(network, Chain):
        sentences.append("A token of this report is one time step of the chain's raster.")
    elif not spiking:
        sentences.append(
            "No LIF spike enters a projection: spikes are added to the residual stream, and every "
            "matrix multiplication sees normalised, mixed, graded values. Only layers that "
            "rectify (squared ReLU) or round to zero save operations."
        )
        return tuple(sentences)
    by_bits: dict[tuple[bool, int], list[str]] = {}
    for layer in dense:
        if layer.operand == "graded":
            key = (not takes_spikes(network, layer.name), layer.payload_bits)
            by_bits.setdefault(key, []).append(layer.name)
    for (values, bits), names in sorted(by_bits.items()):
        where = ", ".join(names) if len(names) <= 3 else f"{len(names)} projections"
        what = "values" if values else "spikes"
        sentences.append(f"Graded {what} of {bits} bits enter {where}.")
    return tuple(sentences)
