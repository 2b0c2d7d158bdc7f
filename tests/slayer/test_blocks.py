"""Our SLAYER blocks beside lava-dl's own: equal neurons, one Sequential, stock training classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.backends.raster import EmulatorChainSession
from spikegpt_neuro.cli.program import app
from spikegpt_neuro.converters.netx import read_netx
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.slayer import blocks as ours

slayer = import_lava_dl("lava.lib.dl.slayer")
stock = import_lava_dl("lava.lib.dl.slayer.neuron.cuba")

SPIKEGPT_LIF = {"threshold": 2.0, "current_decay": 1.0, "voltage_decay": 0.5}
PARAMETERS: list[dict[str, Any]] = [
    SPIKEGPT_LIF,
    {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03},
    {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.7, "requires_grad": True},
]


def currents(length: int = 60, channels: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(3, channels, length, generator=generator) * 1.5


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_neuron_equals_slayers(parameters: dict[str, Any]) -> None:
    mine, theirs = ours.Neuron(**parameters), stock.Neuron(**parameters)
    assert mine.device_params == theirs.device_params
    a, b = currents().requires_grad_(), currents().requires_grad_()
    current, voltage = mine.dynamics(a)
    their_current, their_voltage = theirs.dynamics(b)
    assert torch.equal(current, their_current)
    assert torch.equal(voltage, their_voltage)
    spikes, their_spikes = mine(a), theirs(b)
    assert torch.equal(spikes, their_spikes)
    assert 0.02 < spikes.mean() < 0.9
    wanted = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(0))
    (spikes * wanted).sum().backward()
    (their_spikes * wanted).sum().backward()
    assert a.grad is not None and b.grad is not None
    torch.testing.assert_close(a.grad, b.grad)
    if parameters.get("requires_grad"):
        for name in ("current_decay", "voltage_decay"):
            torch.testing.assert_close(getattr(mine, name).grad, getattr(theirs, name).grad)


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_persistent_state_equals_slayers_step_by_step(parameters: dict[str, Any]) -> None:
    mine = ours.Neuron(**parameters, persistent_state=True)
    theirs = stock.Neuron(**parameters, persistent_state=True)
    for part in torch.split(currents(), [1, 1, 20, 38], dim=-1):
        assert torch.equal(mine(part), theirs(part))
        assert torch.equal(mine.current_state, theirs.current_state)
        assert torch.equal(mine.voltage_state, theirs.voltage_state)


class Mixed(torch.nn.Module):
    """Stock and our blocks in one Sequential, with event rates as SLAYER's assistant takes them."""

    def __init__(self, count_log: bool) -> None:
        super().__init__()
        log = {"count_log": count_log}
        parameters = {**SPIKEGPT_LIF, "threshold": 0.5}
        self.blocks = torch.nn.Sequential(
            ours.BinaryEmbedding(5, 16, **log),
            slayer.block.cuba.Dense(parameters, 16, 16, weight_scale=3),
            ours.SRWKV(parameters, 16, weight_scale=5, **log),
            ours.SRFFN(parameters, 16, 32, weight_scale=5, **log),
            ours.Dense(parameters, 16, 5, weight_scale=3),
        )
        self.count_log = count_log

    def forward(self, x: Tensor) -> Any:
        counts = []
        for block in self.blocks:
            x = block(x)
            if isinstance(x, tuple):
                x, count = x
                counts.append(count.item())
        return (x, torch.tensor([counts])) if self.count_log else x


def test_one_sequential_trains_with_slayers_assistant_and_loss() -> None:
    torch.manual_seed(0)
    tokens = (torch.arange(24).repeat(4, 1) % 5).float().unsqueeze(1)
    # the class of a sequence is its first token: shift the cycle
    labels = torch.arange(4)
    tokens = (tokens + labels.view(4, 1, 1)) % 5
    net = Mixed(count_log=True)
    error = slayer.loss.SpikeRate(true_rate=0.6, false_rate=0.05, reduction="sum")
    assistant = slayer.utils.Assistant(
        net, error, torch.optim.Adam(net.parameters(), lr=0.01), slayer.utils.LearningStats(),
        classifier=slayer.classifier.Rate.predict, count_log=True,
    )  # fmt: skip
    losses = []
    for _ in range(60):
        output, count = assistant.train(tokens, labels)
        losses.append(error(output, labels).item())
    assert count.shape == (1, 3)
    assert ((count > 0) & (count < 1)).all()
    assert min(losses[-10:]) < 0.6 * losses[0]
    for name, parameter in net.named_parameters():
        if "decay" not in name or "time_decay" in name:
            assert parameter.grad is not None, name


def test_streaming_with_persistent_state_equals_one_call() -> None:
    torch.manual_seed(1)
    parameters = {**SPIKEGPT_LIF, "threshold": 0.5}
    spikes = (currents(40, 16) > 0.5).float()
    for make in (ours.SRWKV, ours.SRFFN):
        whole = make(parameters, 16, weight_scale=5, delay_shift=False)
        fresh = make(
            {**parameters, "persistent_state": True}, 16, weight_scale=5, delay_shift=False
        )
        fresh.load_state_dict(whole.state_dict())
        expected = whole(spikes)
        assert expected.any()
        parts = [fresh(part) for part in torch.split(spikes, [1, 9, 30], dim=-1)]
        assert torch.equal(torch.cat(parts, -1), expected)
        assert fresh.shape == torch.Size([16])


def test_projections_export_as_stock_dense_layers(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Mixed(count_log=False)
    net(torch.zeros(1, 1, 4))
    netx = import_lava_dl("lava.lib.dl.netx.hdf5")
    utilities = import_lava_dl("lava.lib.dl.netx.utils")
    with h5py.File(tmp_path / "blocks.net", "w") as file:
        for i, block in enumerate(net.blocks):
            block.export_hdf5(file.create_group(f"blocks/{i}"))
    with h5py.File(tmp_path / "blocks.net") as file:
        assert file["blocks/0/table"].shape == (5, 16)
        assert set(np.unique(file["blocks/2/shift_k"])) <= {0, 1}
        groups = [f"blocks/2/{name}" for name in ("key", "value", "receptance", "output")]
        groups += [f"blocks/3/{name}" for name in ("key", "value", "receptance")] + ["blocks/4"]
        for group in groups:
            dense, _ = netx.Network.create_dense(utilities.NetDict(f=file[group]))
            written = np.asarray(file[group]["weight"])
            assert np.array_equal(written, np.rint(written))
            # lava-dl may hold the same weights scaled to the full range, with an exponent
            exponent = float(np.squeeze(dense.synapse.proc_params["weight_exp"]))
            assert np.array_equal(dense.synapse.weights.get() * 2.0**exponent, written), group


@pytest.mark.parametrize("delayed", [True, False])
def test_mixed_chain_runs_as_trained_spike_for_spike(tmp_path: Path, delayed: bool) -> None:
    """Stock and our blocks in one Sequential, trained a little, exported, imported, executed."""
    torch.manual_seed(6)
    parameters = {**SPIKEGPT_LIF, "threshold": 0.5}
    choices = {"delay_shift": delayed}
    net = torch.nn.Sequential(
        ours.BinaryEmbedding(9, 16),
        slayer.block.cuba.Dense(parameters, 16, 12, weight_scale=3, **choices),
        ours.SRWKV(parameters, 12, weight_scale=5, **choices),
        ours.SRFFN({**parameters, "voltage_decay": 0.03}, 12, 40, weight_scale=5, **choices),
        slayer.block.cuba.Dense(parameters, 12, 12, weight_scale=3, **choices),
        ours.SRWKV(parameters, 12, weight_scale=9, **choices),
        ours.Dense(parameters, 12, 7, weight_scale=3, **choices),
    )
    tokens = torch.randint(0, 9, (1, 1, 90)).float()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(3):  # weights, shifts and decays that are no initial values
        optimiser.zero_grad()
        (net(tokens).mean((0, 2)) - torch.linspace(0.1, 0.5, 7)).square().sum().backward()
        optimiser.step()
    expected, x = [], tokens
    with torch.no_grad():
        for block in net:
            x = block(x)
            expected.append(x[0].T.numpy())
    assert all(0.02 < spikes.mean() < 0.9 for spikes in expected)
    ours.export_chain(tmp_path / "chain.net", net, stock=False)
    network = read_netx(tmp_path / "chain.net", synapse_delay=delayed)
    write_network(network, tmp_path / "imported.net")
    network = read_network(tmp_path / "imported.net")
    last_of = {layer.stage: layer.name for layer in network.layers}
    names = list(last_of.values())
    with EmulatorChainSession(network, trace=names) as session:
        found = session.score(tokens[0].T.numpy())
        # stock layers are delayed at their input, at rest until then: the same spikes
        for name, spikes in zip(names, expected, strict=True):
            assert np.array_equal(session.trace(name), spikes), name
        assert np.array_equal(found, expected[-1])
        assert session.counters.total("saturations") == 0
        whole = session.trace(names[-1])
        session.reset()
        parts = [session.score(part) for part in np.split(tokens[0].T.numpy(), [1, 40])]
        assert np.array_equal(np.concatenate(parts), whole)
        with pytest.raises(InputError, match=r"values 9\.0\.\.9\.0, allowed 0\.\.8"):
            session.score(np.full((2, 1), 9.0))


def test_mixed_chain_runs_through_the_commands(tmp_path: Path) -> None:
    torch.manual_seed(7)
    net = Mixed(count_log=False)
    tokens = torch.randint(0, 5, (1, 1, 30)).float()
    with torch.no_grad():
        expected = net(tokens)[0].T.numpy()
    stock, network, raster, out = (
        tmp_path / name for name in ("stock.net", "chain.net", "tokens.npy", "out.npy")
    )
    ours.export_chain(stock, net.blocks, stock=False)
    np.save(raster, tokens[0].T.numpy().astype(np.int64))
    for command in (
        ["netx", "import", str(stock), str(network)],
        ["simulate", str(network), "--raster", str(raster), "--output", str(out)],
        ["verify", str(network), "--raster", str(raster), "--backends", "emulator,lava"],
    ):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert expected.any()
    assert np.array_equal(np.load(out), expected)


def test_damaged_block_groups_are_refused_with_every_problem(tmp_path: Path) -> None:
    net = torch.nn.Sequential(ours.BinaryEmbedding(3, 8), ours.SRWKV(SPIKEGPT_LIF, 8))
    with torch.no_grad():
        net(torch.zeros(1, 1, 3))
    path = tmp_path / "chain.net"
    ours.export_chain(path, net, stock=False)
    with h5py.File(path, "r+") as file:
        group = file["layer/1"]
        group["shift_k"][0] = 7
        group["time_decay"][1] = np.nan
        group["key/weight"][0, 0] = 1000
        del group["output/neuron/vDecay"]
        group["surprise"] = 1
        file["layer/0/table"][0, 0] = 2
    with pytest.raises(InputError) as caught:
        read_netx(path)
    assert "layer 0/table" in caught.value.problems[0]  # nothing behind it can be judged
    with h5py.File(path, "r+") as file:
        file["layer/0/table"][0, 0] = 1
    with pytest.raises(InputError) as caught:
        read_netx(path)
    text = "\n".join(caught.value.problems)
    for part in ("shift_k", "time_decay", "key/weight", "output/neuron/vDecay"):
        assert part in text, text


def run_in_lava(network: Any, spikes: Tensor) -> np.ndarray[Any, Any]:
    """Spikes [channels, T] through a netx network on the CPU."""
    source_of = import_lava_dl("lava.proc.io.source")
    sink_of = import_lava_dl("lava.proc.io.sink")
    conditions = import_lava_dl("lava.magma.core.run_conditions")
    configurations = import_lava_dl("lava.magma.core.run_configs")
    steps = spikes.shape[-1]
    source = source_of.RingBuffer(data=spikes.numpy().astype(int))
    sink = sink_of.RingBuffer(shape=network.out.shape, buffer=steps)
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    try:
        network.run(
            condition=conditions.RunSteps(num_steps=steps),
            run_cfg=configurations.Loihi2SimCfg(select_tag="fixed_pt"),
        )
        return np.asarray(sink.data.get())
    finally:
        network.stop()


@pytest.mark.parametrize("kind", ["stock", "ours"])
def test_dense_chain_runs_unchanged_in_stock_netx(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(4)
    parameters = {**SPIKEGPT_LIF, "threshold": 1.0}
    dense = slayer.block.cuba.Dense if kind == "stock" else ours.Dense
    blocks = [dense(parameters, a, b, weight_scale=4) for a, b in ((12, 20), (20, 8))]
    spikes = (torch.rand(1, 12, 30) < 0.4).float()
    with torch.no_grad():
        expected = torch.nn.Sequential(*blocks)(spikes)[0].numpy()
    assert 0.05 < expected.mean() < 0.95
    ours.export_chain(tmp_path / "chain.net", blocks)
    netx = import_lava_dl("lava.lib.dl.netx.hdf5")
    found = run_in_lava(netx.Network(str(tmp_path / "chain.net")), spikes[0])
    assert np.array_equal(found, expected)


def test_stock_file_refuses_blocks_that_netx_would_skip(tmp_path: Path) -> None:
    block = ours.SRWKV(SPIKEGPT_LIF, 4)
    block(torch.zeros(1, 4, 3))
    with pytest.raises(InputError, match="block 0 is of type srwkv"):
        ours.export_chain(tmp_path / "chain.net", [block])
    assert not (tmp_path / "chain.net").exists()
