"""Adding a kind for real: three files, registered from outside, run everywhere, and gone again."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kind_checks import checks
from kind_checks.samples import sample
from kind_checks.sources import SCOPE

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.decomposition.decomposition import fine_problems
from spikegpt_neuro.energy.activity import activities
from spikegpt_neuro.energy.report import build_report
from spikegpt_neuro.errors import IncompleteKind, InputError
from spikegpt_neuro.exchange import export_nir, import_nir
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.mapping.deployability import deployability
from spikegpt_neuro.network import LAYER_KINDS, LanguageModel, Port
from spikegpt_neuro.network.file import read_network, write_network
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.ranges import proven_ranges
from spikegpt_neuro.network.registry import REGISTRIES, forget
from spikegpt_neuro.network.schema import Layer

FOLDER = Path(__file__).with_name("example_kind")
N = 16


@pytest.fixture
def kind() -> Iterator[type[Layer]]:
    """The example, registered for one test."""
    modules = [f"example_kind.{name}" for name in ("consumers", "layer", "arithmetic")]
    importlib.import_module(modules[0])
    found = LAYER_KINDS["leaky_average"]
    try:
        yield found
    finally:
        forget(found)
        for name in (*modules, "example_kind"):
            sys.modules.pop(name, None)


def network_with(kind: type[Layer]) -> LanguageModel:
    """A language model whose head reads an average of the last norm."""
    model = random_network(RandomShape(n_layer=1, n_embd=N, vocabulary_size=9))
    layers: list[Any] = []
    for layer in model.layers:
        if layer.name == "head.requantise":
            port = Port(N, "graded", 24, True, layer.output.scale)
            scalars: Any = {
                "gain": np.full(N, 16384, np.int32), "shift": np.full(N, 15, np.int32),
                "keep": 2048, "least": 9,
            }  # fmt: skip
            layers.append(kind("head.average", layer.inputs, port, **scalars))
            layer = dataclasses.replace(layer, inputs=("head.average",))
        layers.append(layer)
    return dataclasses.replace(model, layers=tuple(layers))


def test_a_kind_is_three_files() -> None:
    assert len([p for p in FOLDER.glob("*.py") if p.name != "__init__.py"]) == 3


def test_it_is_complete_and_holds_what_every_kind_holds(kind: type[Layer]) -> None:
    from example_kind.arithmetic import leaky_average

    assert all(registry.knows(kind) for registry in REGISTRIES.values())
    checks.check_operations(kind, leaky_average, {"x", "average", "result"})
    checks.check_declared_ranges(kind)
    checks.check_state(kind)


def test_its_equation_is_what_the_emulator_runs(kind: type[Layer]) -> None:
    layer: Any = sample(kind)
    inputs = checks.inputs_of(layer)
    found, _ = checks.run_program(layer, inputs, np.zeros(checks.TOKENS, np.int64))
    averages = [0] * layer.output.size
    for t, row in enumerate(found):
        for c, value in enumerate(row):
            names = {"a": int(inputs[t, 0, c]), "average": averages[c], "keep": layer.keep,
                     "least": layer.least, "gain": int(layer.gain[c]),
                     "shift": int(layer.shift[c])}  # fmt: skip
            exec(layer.equation, SCOPE, names)
            averages[c] = names["average"]
            assert value == names["s"]


def test_it_is_run_counted_priced_mapped_and_written(kind: type[Layer], tmp_path: Path) -> None:
    network = network_with(kind)
    tokens = np.random.default_rng(0).integers(0, 9, 40).tolist()
    with get_backend("emulator").open(network, trace=["head.average"]) as session:
        session.score(tokens)
        values = session.trace("head.average")
        counters = session.counters
    assert values.any()
    low, high = proven_ranges(network)["head.average"]
    assert low <= values.min() <= values.max() <= high
    assert counters.count("head.average", "output_events") == np.count_nonzero(values)
    (activity,) = [x for x in activities(network, counters) if x.kind == "leaky_average"]
    assert sum(activity.elementwise.values()) == 10 * N * len(tokens)
    assert activity.state_words_read == N * len(tokens)
    report = build_report(network, counters, load_profile("cmos45-int8"))
    assert report.energy is not None
    assert "head.average" in {part.part.layer for part in report.parts}
    mapping = map_network(network, load_profile("loihi2"))
    assert "head.average" in {part.layer for core in mapping.cores for part in core.slices}
    write_network(network, tmp_path / "model.net")
    again = read_network(tmp_path / "model.net")
    with get_backend("emulator").open(again, trace=["head.average"]) as session:
        session.score(tokens)
        assert np.array_equal(session.trace("head.average"), values)
    export_nir(network, tmp_path / "model.nir")
    assert import_nir(tmp_path / "model.nir")["head.average"].kind == "leaky_average"
    assert fine_problems(network) == [
        "head.average: a leaky_average: no own neuron was written for it"
    ]
    kinds = {need.kind: need.need for need in deployability(network, []).kinds}
    assert kinds["leaky_average"] == "none"


def test_it_is_gone_again(kind: type[Layer], tmp_path: Path) -> None:
    network = network_with(kind)
    write_network(network, tmp_path / "model.net")
    forget(kind)
    assert "leaky_average" not in LAYER_KINDS
    with pytest.raises(InputError, match=r"head\.average: unknown kind 'leaky_average'"):
        read_network(tmp_path / "model.net")
    with pytest.raises(IncompleteKind, match=r"head\.average: the kind of layer 'leaky_average'"):
        dataclasses.replace(network)
    with pytest.raises(IncompleteKind, match="is not known to the emulator"):
        get_backend("emulator").open(network)


def test_half_a_kind_is_refused(kind: type[Layer]) -> None:
    for consumer, registry in REGISTRIES.items():
        registry.forget(kind)
        with pytest.raises(IncompleteKind, match=f"'leaky_average' is not known to {consumer}"):
            registry(sample(kind))
    network = network_with(kind)
    with pytest.raises(IncompleteKind, match="the emulator"):
        get_backend("emulator").open(network)
    with pytest.raises(IncompleteKind, match="the fine Lava graph"):
        fine_problems(network)
    with pytest.raises(IncompleteKind, match="NIR"):
        export_nir(network, Path("never-written.nir"))


def test_a_class_that_does_not_say_everything_is_refused() -> None:
    from spikegpt_neuro.network.registry import layer_kind

    class Silent(Layer):
        kind = "silent"

    with pytest.raises(IncompleteKind) as caught:
        layer_kind(Silent)
    for fact in ("input_count", "driver", "chip_role", "states", "equation", "value_range"):
        assert f"says nothing of {fact}" in str(caught.value)
    assert "silent" not in LAYER_KINDS
