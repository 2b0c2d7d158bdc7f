"""NIR: exact round trips, what it cannot hold, and another tool's reading of the same graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import networkx
import nir
import numpy as np
import pytest

from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange import check_nir, export_nir, import_nir, import_nir_with_report
from spikegpt_neuro.exchange.nir_levels import level_limits
from spikegpt_neuro.network import Chain, ChainInfo, Network, Port
from spikegpt_neuro.network.layers import Lif, RecurrentVariedCuba, Residual, VariedCuba
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.network.slayer_layers import (
    ChannelDelay,
    Cuba,
    Delta,
    LeakyIntegrator,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentCuba,
    Sigma,
)

SPIKES = ("binary", 1, False, 1.0)


def dense(name: str, source: str, weight: np.ndarray) -> NetxDense:
    port = Port(weight.shape[0], "accumulator", 32, True, 1.0)
    return NetxDense(name, (source,), port, weight.astype(np.int16))


def cuba(
    name: str, source: str, size: int, *, bias: int = 0, current: int = 4096, voltage: int = 1024
) -> Cuba:
    values = np.full(size, bias, np.int32)
    return Cuba(name, (source,), Port(size, *SPIKES), values, current, voltage, 80)


def step_delay(name: str, source: Layer) -> ChannelDelay:
    return ChannelDelay(
        name, (source.name,), source.output, np.ones(source.output.size, np.int32), 1
    )


def chain(*layers: Layer) -> Network:
    return Chain(ChainInfo(), layers)


def raster_input(size: int) -> RasterInput:
    return RasterInput("input.raster", (), Port(size, *SPIKES))


def assert_same(one: Network, other: Network) -> None:
    assert other.info == one.info and other.vocabulary == one.vocabulary
    assert [layer.name for layer in other.layers] == [layer.name for layer in one.layers]
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert (theirs.kind, theirs.inputs, theirs.output) == (mine.kind, mine.inputs, mine.output)
        for name in mine.array_specs():
            values = getattr(theirs, name)
            assert values.dtype == getattr(mine, name).dtype
            assert np.array_equal(values, getattr(mine, name)), (mine.name, name)
        for name in mine.scalar_ranges():
            assert getattr(theirs, name) == getattr(mine, name), (mine.name, name)


def weights(seed: int, n: int, m: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-60, 90, (n, m))


def test_chain_round_trip_is_exact(tmp_path: Path) -> None:
    first = raster_input(6)
    delay = step_delay("a.delay", first)
    late = ChannelDelay(
        "b.late", ("b.synapse",), Port(5, "accumulator", 32, True, 1.0),
        np.array([0, 3, 1, 2, 62], np.int32), 62,
    )  # fmt: skip
    recurrent = RecurrentCuba(
        "c.neuron", ("c.synapse",), Port(4, *SPIKES), np.arange(4, dtype=np.int32), 4096, 1, 131071,
        weights(7, 4, 4).astype(np.int16),
    )  # fmt: skip
    network = chain(
        first, delay, dense("a.synapse", "a.delay", weights(1, 7, 6)),
        cuba("a.neuron", "a.synapse", 7, current=333, voltage=4095),
        dense("b.synapse", "a.neuron", weights(2, 5, 7)), late,
        cuba("b.neuron", "b.late", 5),
        dense("c.synapse", "b.neuron", weights(3, 4, 5)), recurrent,
    )  # fmt: skip
    counts = export_nir(network, tmp_path / "chain.nir")
    assert counts == {
        "Input": 1, "Delay": 2, "Linear": 3, "Affine": 1, "CubaLIF": 1, "LIF": 2, "Output": 1,
    }  # fmt: skip
    again = import_nir(tmp_path / "chain.nir")
    assert_same(network, again)
    raster = np.random.default_rng(1).integers(0, 2, (90, 6))
    with EmulatorChainSession(network) as one, EmulatorChainSession(again) as other:
        assert np.array_equal(one.score(raster), other.score(raster))


def test_decays_of_each_neuron_round_trip(tmp_path: Path) -> None:
    first = raster_input(6)
    fast = np.full(7, 4096, np.int32), np.arange(1, 4096, 600, dtype=np.int32)
    slow = np.array([4096, 9, 77, 1, 2000], np.int32), np.full(5, 700, np.int32)
    network = chain(
        first, dense("a.synapse", "input.raster", weights(1, 7, 6)),
        VariedCuba("a.neuron", ("a.synapse",), Port(7, *SPIKES), np.arange(7, dtype=np.int32),
                   *fast, 80),
        dense("b.synapse", "a.neuron", weights(2, 5, 7)),
        RecurrentVariedCuba("b.neuron", ("b.synapse",), Port(5, *SPIKES),
                            np.zeros(5, np.int32), *slow, 80, weights(7, 5, 5).astype(np.int16)),
    )  # fmt: skip
    counts = export_nir(network, tmp_path / "chain.nir")
    assert counts == {"Input": 1, "Linear": 3, "LIF": 1, "CubaLIF": 1, "Output": 1}
    again = import_nir(tmp_path / "chain.nir")
    assert_same(network, again)
    checked = check_nir(tmp_path / "chain.nir", bits=None, time_step=1e-4)
    assert not checked.problems and checked.report and checked.report.is_exact
    some = np.array([0, 1, 1, 1, 1, 1, 1], np.int32)
    still = replace(network.layers[2], voltage_decay=some)
    with pytest.raises(InputError, match="a decay of 0 among others"):
        export_nir(chain(first, network.layers[1], still), tmp_path / "still.nir")


def test_convolution_round_trip_is_exact(tmp_path: Path) -> None:
    geometry = np.array([4, 7, 5, 6, 4, 2, 3, 3, 2, 2, 1, 0, 1, 1, 2], np.int32)
    flat = np.random.default_rng(2).integers(-9, 9, 6 * 2 * 9).astype(np.int16)
    port = Port(48, "accumulator", 24, True, 1.0)
    network = chain(
        raster_input(140), NetxConvolution("a.synapse", ("input.raster",), port, flat, geometry),
        cuba("a.neuron", "a.synapse", 48, bias=3),
    )  # fmt: skip
    export_nir(network, tmp_path / "chain.nir")
    assert_same(network, import_nir(tmp_path / "chain.nir"))


@pytest.mark.parametrize("layout", ["upstream", "spike-driven"])
def test_language_model_round_trip_is_exact(layout: str, tmp_path: Path) -> None:
    shape = RandomShape(layout=layout, n_layer=2, n_embd=16, vocabulary_size=11)
    network = random_network(shape)
    counts = export_nir(network, tmp_path / "model.nir")
    again = import_nir(tmp_path / "model.nir")
    assert_same(network, again)
    # every layer is there: as a node of NIR's own, or as a marked subgraph
    assert sum(counts.values()) == len(network.layers) + 1
    assert counts["Linear"] == sum(layer.kind == "dense" for layer in network.layers)
    tokens = [1, 5, 3, 10, 0, 2]
    with Emulator().open(network) as one, Emulator().open(again) as other:
        assert np.array_equal(one.score(tokens), other.score(tokens))


def lif_layer(seed: int, levels: int, soft_reset: int = 0) -> Lif:
    """Memoryless neurons with parameters of every kind, edges included."""
    generator = np.random.default_rng(seed)
    n = 24
    multiplier = generator.integers(-(1 << 15), 1 << 15, n)
    multiplier[:4] = 0, 1, -1, 1 << 15
    shift = generator.integers(0, 25, n)
    offset = generator.integers(-20_000, 20_000, n)
    offset[4:8] = (1 << 23) - 1, -(1 << 23), 4096, 0
    return Lif(
        "a.lif", ("x",), Port(n, "graded", 4, False, 1.0),
        *(v.astype(np.int32) for v in (multiplier, shift, offset)),
        4096, int(generator.integers(1, 3000)), int(generator.integers(-4000, 4000)), levels,
        soft_reset,
    )  # fmt: skip


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_levels_are_the_neurons_spikes_at_every_edge(seed: int, levels: int) -> None:
    layer = lif_layer(seed, levels, soft_reset=seed % 2)
    sign, limits = level_limits(layer)
    finite = np.where(np.isfinite(limits), limits, 0.0) * sign
    edges = np.floor(np.clip(finite, -1e9, 1e9)).astype(np.int64)
    rows = [edges + step for step in (-1, 0, 1, 2)]
    rows += [np.random.default_rng(9).integers(-(1 << 24), 1 << 24, edges.shape)]
    for driving in np.concatenate(rows).astype(np.int32):
        spikes, membrane = np.zeros(driving.size, np.int32), np.zeros(driving.size, np.int32)
        lif(
            driving, layer.multiplier, layer.shift, layer.offset, 4096, layer.threshold,
            layer.bias, levels, layer.soft_reset, membrane, spikes, np.zeros(2, np.int64),
        )  # fmt: skip
        assert np.array_equal(sum(sign * driving > limit for limit in limits), spikes)


def memoryless(network: Network) -> Network:
    """The network with neurons that keep nothing, as trained spike-driven models have them."""
    layers = tuple(
        replace(layer, voltage_decay=4096) if isinstance(layer, Lif) else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


def test_spikes_of_a_spike_driven_model_need_only_nirs_own_nodes(tmp_path: Path) -> None:
    shape = RandomShape(layout="spike-driven", levels=3, n_layer=2, n_embd=32)
    network = memoryless(random_network(shape))
    export_nir(network, tmp_path / "model.nir")
    assert_same(network, import_nir(tmp_path / "model.nir"))
    graph = nir.read(tmp_path / "model.nir", type_check=False)
    chains = [
        (layer.name, network[layer.inputs[0]])
        for layer in network.layers
        if isinstance(layer, Lif) and network[layer.inputs[0]].kind == "dense"
    ]
    assert len(chains) == 2  # the hidden neurons of both feed-forward networks
    names = [n for name, synapse in chains for n in (name, *synapse.inputs)]
    tokens = np.random.default_rng(3).integers(0, shape.vocabulary_size, 80).tolist()
    with Emulator().open(network, trace=names) as session:
        session.score(tokens)
        for name, synapse in chains:
            neurons = graph.nodes[name.replace(".", "__")]
            assert {type(node).__name__ for node in neurons.nodes.values()} == {
                "Input", "LIF", "Output",
            }  # fmt: skip
            weight = graph.nodes[synapse.name.replace(".", "__")].weight
            driving = session.trace(synapse.inputs[0]) @ weight.T
            found = np.zeros_like(driving)
            for node in neurons.nodes.values():
                if isinstance(node, nir.LIF):
                    assert (node.tau == 1e-4).all() and not node.v_leak.any()
                    found += node.r * driving > node.v_threshold
            assert found.any() and np.array_equal(found, session.trace(name))


def test_marked_layers_carry_nothing_for_a_tool_that_ignores_the_mark(tmp_path: Path) -> None:
    export_nir(random_network(RandomShape(layout="upstream", n_layer=1)), tmp_path / "model.nir")
    graph = nir.read(tmp_path / "model.nir", type_check=False)
    marked = [node for node in graph.nodes.values() if isinstance(node, nir.NIRGraph)]
    assert len(marked) > 10
    for node in marked:
        assert "spikegpt_neuro" in node.metadata
        assert not networkx.has_path(networkx.DiGraph(node.edges), "input", "output")


def test_levels_edited_without_their_metadata_are_refused(tmp_path: Path) -> None:
    network = memoryless(random_network(RandomShape(layout="spike-driven", n_layer=1)))
    export_nir(network, tmp_path / "model.nir")
    graph = nir.read(tmp_path / "model.nir", type_check=False)
    graph.nodes["blocks__0__srwkv__lif"].nodes["level_1"].v_threshold[3] += 1
    nir.write(tmp_path / "edited.nir", graph)
    with pytest.raises(InputError, match=r"blocks\.0\.srwkv\.lif: its LIF nodes are not those"):
        import_nir(tmp_path / "edited.nir")


def test_an_edited_weight_is_read_as_edited(tmp_path: Path) -> None:
    network = chain(
        raster_input(2), dense("a.synapse", "input.raster", np.array([[3, 4]])),
        cuba("a.neuron", "a.synapse", 1),
    )  # fmt: skip
    export_nir(network, tmp_path / "chain.nir")
    graph = nir.read(tmp_path / "chain.nir")
    graph.nodes["a__synapse"].weight[0, 0] = 7
    nir.write(tmp_path / "edited.nir", graph)
    network = import_nir(tmp_path / "edited.nir")
    assert network["a.synapse"].weight.tolist() == [[7, 4]]


def test_what_nir_cannot_hold_is_listed(tmp_path: Path) -> None:
    port = Port(3, "graded", 24, True, 1.0)
    network = chain(
        raster_input(3), Delta("input.neuron", ("input.raster",), port, 1, 6),
        dense("a.synapse", "input.neuron", weights(1, 2, 3)),
        cuba("a.neuron", "a.synapse", 2, bias=5, current=100, voltage=0),
        step_delay("b.delay", cuba("a.neuron", "", 2)),
        cuba("b.neuron", "b.delay", 2, bias=5, voltage=0),
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        export_nir(network, tmp_path / "chain.nir")
    assert len(caught.value.problems) == 3
    assert "b.neuron: a bias behind channel_delay b.delay" in str(caught.value)
    assert "input.neuron: NIR has no delta neuron" in str(caught.value)
    assert not (tmp_path / "chain.nir").exists()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.LI(*(np.full(2, v) for v in (3e-4, 3.0, 0.0))), "not a multiple of 1/4096"),
        (nir.Linear(np.full((2, 2), 0.5)), "must be whole numbers"),
        (nir.LIF(*(np.full(2, v) for v in (3e-4, 3.0, 0.0, 1.0))), "not a multiple of 1/4096"),
        (nir.LIF(*(np.full(2, v) for v in (2e-4, 1.0, 0.0, 1.0))), "fold it into the weights"),
        (
            nir.LIF(*(np.full(2, v) for v in (2e-4, 2.0, 1.0, 1.0))),
            "node/v_leak: must be whole numbers",
        ),
        (nir.LIF(*(np.full(2, v) for v in (2e-4, 2.0, 0.0, 1.0, -1.0))), "resets to -1, not to 0"),
    ],
)
def test_foreign_nodes_that_cannot_be_held_are_errors(
    node: nir.NIRNode, message: str, tmp_path: Path
) -> None:
    nodes = {
        "input": nir.Input({"input": np.array([2])}), "node": node,
        "output": nir.Output({"output": np.array([2])}),
    }  # fmt: skip
    graph = nir.NIRGraph(nodes, [("input", "node"), ("node", "output")])
    nir.write(tmp_path / "foreign.nir", graph)
    with pytest.raises(InputError, match=message):
        import_nir(tmp_path / "foreign.nir")


@pytest.mark.parametrize("current", [4096, 2048])
def test_snntorch_reads_the_same_spikes(current: int, tmp_path: Path) -> None:
    import torch
    from snntorch import import_nir as reader  # in the extra [dev]: absent is a failure

    network = chain(
        raster_input(12), dense("a.synapse", "input.raster", weights(5, 20, 12)),
        cuba("a.neuron", "a.synapse", 20, current=current),
        dense("b.synapse", "a.neuron", weights(6, 8, 20) - 14),
        cuba("b.neuron", "b.synapse", 8, current=current),
    )  # fmt: skip
    export_nir(network, tmp_path / "chain.nir")
    raster = (np.random.default_rng(9).random((200, 12)) < 0.2).astype(np.int32)
    with EmulatorChainSession(network, trace=["a.neuron"]) as session:
        expected = session.score(raster)
        hidden = session.trace("a.neuron")
    assert 0.05 < hidden.mean() < 0.6 and 0.05 < expected.mean() < 0.6
    module = reader.import_from_nir(nir.read(tmp_path / "chain.nir"))
    torch.set_num_threads(1)
    state, found = None, []
    with torch.no_grad():
        for step in raster:
            out, state = module(torch.tensor(step, dtype=torch.float32)[None], state)
            found.append(out.numpy().reshape(-1).astype(np.int32))
    assert np.array_equal(np.array(found), expected)


def test_integrators_sums_and_biases_of_voltages_round_trip(tmp_path: Path) -> None:
    """``IF``, ``I``, two edges that meet, and biases that only ``v_leak`` can hold."""
    first = raster_input(6)
    one = np.ones(5, np.int32)
    port = Port(5, "accumulator", 24, True, 1.0)
    network = chain(
        first, dense("a", "input.raster", weights(1, 7, 6)),
        cuba("b", "a", 7, bias=3, voltage=0), dense("c", "b", weights(2, 5, 7)),
        dense("d", "input.raster", weights(3, 5, 6)),
        Residual("c_sum", ("c", "d"), port, one, 0 * one),
        cuba("e", "c_sum", 5, bias=-7, current=300, voltage=2000),
        dense("f", "e", weights(4, 5, 5)), step_delay("g", dense("f", "e", weights(4, 5, 5))),
        cuba("h", "g", 5, bias=9, voltage=1000), dense("i", "h", weights(5, 2, 5)),
        Sigma("j", ("i",), Port(2, "graded", 32, True, 1.0)),
    )  # fmt: skip
    counts = export_nir(network, tmp_path / "chain.nir")
    assert counts == {
        "Input": 1, "Affine": 1, "IF": 1, "Linear": 4, "CubaLIF": 1, "Delay": 1, "LIF": 1, "I": 1,
        "Output": 1,
    }  # fmt: skip
    again, report = import_nir_with_report(tmp_path / "chain.nir")
    assert report.is_exact
    assert_same(network, again)
    raster = np.random.default_rng(1).integers(0, 2, (60, 6))
    found = check_nir(tmp_path / "chain.nir", raster=raster)
    assert {row.node for row in found.spikes} == {"b", "e", "h"}
    assert not [line for row in found.spikes for line in row.unexplained]


def test_a_quantised_import_exports_and_comes_back(tmp_path: Path) -> None:
    """Also the neurons that make a bias of the current."""
    n = 4
    tau, one = np.full(n, 5e-4), np.ones(n)
    cell = nir.CubaLIF(
        tau_mem=tau, tau_syn=tau, r=5 * one, w_in=5 * one, v_leak=0.1 * one, v_threshold=one,
        v_reset=0 * one,
    )  # fmt: skip
    weight = np.random.default_rng(4).normal(0, 0.4, (n, 3))
    nodes = {
        "input": nir.Input({"input": np.array([3])}), "fc": nir.Affine(weight, 0.05 * one),
        "cell": cell, "output": nir.Output({"output": np.array([n])}),
    }  # fmt: skip
    nir.write(
        tmp_path / "a.nir",
        nir.NIRGraph(nodes, [("input", "fc"), ("fc", "cell"), ("cell", "output")]),
    )
    network = import_nir(tmp_path / "a.nir", bits=7)
    export_nir(network, tmp_path / "b.nir")
    again, report = import_nir_with_report(tmp_path / "b.nir")
    assert report.is_exact
    assert_same(network, again)


@pytest.mark.parametrize(("current", "kind"), [(4096, "LI"), (700, "CubaLI")])
def test_voltages_round_trip_and_are_nirs(current: int, kind: str, tmp_path: Path) -> None:
    port = Port(3, "graded", 24, True, 1 / 64)
    bias = np.array([0, 5, -9], np.int32)
    network = chain(
        raster_input(6), dense("a", "input.raster", weights(1, 3, 6)),
        LeakyIntegrator("b", ("a",), port, bias, current, 350),
    )  # fmt: skip
    assert export_nir(network, tmp_path / "chain.nir")[kind] == 1
    assert_same(network, import_nir(tmp_path / "chain.nir"))
    raster = np.random.default_rng(1).integers(0, 2, (120, 6))
    (row,) = check_nir(tmp_path / "chain.nir", raster=raster).spikes
    assert row.node == "b" and row.until == 120 and not row.unexplained
