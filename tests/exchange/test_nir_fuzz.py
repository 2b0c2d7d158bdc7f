"""Random NIR graphs: our integers against NIR's equations, one time step at a time.

See ``exchange/nir_compare.py`` for how spikes are compared and which differences are explained.

As a script: python tests/exchange/test_nir_fuzz.py --count 500 --seed 1
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikegpt_neuro.exchange.nir_compare import compare
from spikegpt_neuro.exchange.nir_graph import read_graph
from spikegpt_neuro.exchange.nir_import import convert

DT = 1e-4
STEPS = 60


class Maker:
    """Draws one graph. ``is_whole``: with parameters that integers hold exactly."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.is_whole = bool(self.random.random() < 0.4)
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def graph(self) -> nir.NIRGraph:
        """Input, one to three blocks of synapses and neurons, output."""
        if self.random.random() < 0.5:
            shape = tuple(int(v) for v in (self.pick(1, 2, 3), *self.random.integers(5, 9, 2)))
        elif self.random.random() < 0.3:
            shape = (self.pick(1, 2, 4), int(self.random.integers(6, 12)))
        else:
            shape = (int(self.random.integers(1, 12)),)
        self.nodes["input"] = nir.Input({"input": np.array(shape)})
        here = "input"
        for block in range(self.pick(1, 2, 2, 3)):
            before, before_shape = here, shape
            here, shape = self.synapses(f"{block}", here, shape)
            heard = [here]
            if self.random.random() < 0.2:  # a second way from the same neurons
                size = int(np.prod(shape))
                flat, _ = self.add(f"{block}.flat", self.flatten(before_shape), before)
                skip = nir.Linear(self.weights(size, int(np.prod(before_shape))))
                heard.append(self.add(f"{block}.skip", skip, flat)[0])
                if len(shape) > 1:
                    here, _ = self.add(f"{block}.made_flat", self.flatten(shape), here)
                    heard[0], shape = here, (size,)
            here = self.neurons(f"{block}.neurons", heard, shape)
        if self.random.random() < 0.15:  # sums as the answer
            if len(shape) > 1:
                here, _ = self.add("flat", self.flatten(shape), here)
            last = nir.Affine(self.weights(3, int(np.prod(shape))), self.bias(3))
            here, shape = self.add("last", last, here)[0], (3,)
            if self.random.random() < 0.6:
                here = self.add("voltage", self.integrator(), here)[0]
        self.nodes["output"] = nir.Output({"output": np.array(shape)})
        self.edges.append((here, "output"))
        return nir.NIRGraph(self.nodes, self.edges, type_check=False)

    def pick(self, *values: Any) -> Any:
        return values[int(self.random.integers(len(values)))]

    def add(self, name: str, node: Any, source: str) -> tuple[str, Any]:
        self.nodes[name] = node
        self.edges.append((source, name))
        return name, node

    def flatten(self, shape: tuple[int, ...]) -> nir.Flatten:
        return nir.Flatten({"input": np.array(shape)}, 0, -1)

    def weights(self, *shape: int) -> np.ndarray:
        if self.is_whole:
            return self.random.integers(-12, 17, shape).astype(float)
        drawn = self.random.normal(0.1, 1.0, shape) * 10.0 ** self.random.uniform(-2, 1)
        return drawn.astype(self.pick(np.float32, np.float64))

    def bias(self, size: int) -> np.ndarray:
        if self.random.random() < 0.4:
            return np.zeros(size)
        if self.is_whole:
            large = self.pick(1, 1, 1, 100)  # beyond what one weight holds
            return self.random.integers(-5 * large, 9 * large, size).astype(float)
        return self.random.normal(0.0, 0.3, size)

    def synapses(
        self, name: str, here: str, shape: tuple[int, ...]
    ) -> tuple[str, tuple[int, ...]]:  # fmt: skip
        """Linear nodes between neurons; the last one, and the shape behind it."""
        draw = self.random.random()
        if len(shape) == 3 and min(shape[1:]) >= 3 and draw < 0.75:
            if self.random.random() < 0.35:
                here, shape = self.pool(f"{name}.pool", here, shape)
            if min(shape[1:]) >= 3:
                here, shape = self.convolution(f"{name}.convolution", here, shape)
        elif len(shape) == 2 and shape[1] >= 3 and draw < 0.75:
            here, shape = self.convolution(f"{name}.convolution", here, shape)
        elif draw < 0.95:
            if len(shape) > 1:
                here, _ = self.add(f"{name}.flatten", self.flatten(shape), here)
            size = int(self.random.integers(1, 12))
            weight = self.weights(size, int(np.prod(shape)))
            node = (
                nir.Linear(weight) if self.random.random() < 0.4
                else nir.Affine(weight, self.bias(size))
            )  # fmt: skip
            here, shape = self.add(f"{name}.linear", node, here)[0], (size,)
        if self.random.random() < 0.15:
            scale = np.full(shape, self.pick(1.0, 2.0) if self.is_whole else 0.7)
            here, _ = self.add(f"{name}.scale", nir.Scale(scale), here)
        if self.random.random() < 0.15:
            steps = self.random.integers(0, 4, shape)
            here, _ = self.add(f"{name}.delay", nir.Delay(steps * DT), here)
        return here, shape

    def pool(self, name: str, here: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        kernel, stride = np.array([2, 2]), np.array([self.pick(1, 2), self.pick(1, 2)])
        padding = np.array([self.pick(0, 0, 1)] * 2)
        kind = nir.SumPool2d if self.random.random() < 0.6 or self.is_whole else nir.AvgPool2d
        here, _ = self.add(name, kind(kernel_size=kernel, stride=stride, padding=padding), here)
        out = (np.array(shape[1:]) + 2 * padding - kernel) // stride + 1
        return here, (shape[0], int(out[0]), int(out[1]))

    def convolution(
        self, name: str, here: str, shape: tuple[int, ...]
    ) -> tuple[str, tuple[int, ...]]:  # fmt: skip
        axes = len(shape) - 1
        groups = self.pick(1, shape[0])
        outputs = groups * self.pick(1, 2)
        kernel = [int(k) for k in self.random.integers(1, 4, axes)]
        dilation = [self.pick(1, 1, 2) if (k - 1) * 2 < s else 1
                    for k, s in zip(kernel, shape[1:], strict=True)]  # fmt: skip
        padding: Any = self.pick("same", "valid", "number")
        stride = [1] * axes if padding == "same" else [self.pick(1, 2) for _ in range(axes)]
        pads = [0] * axes
        if padding == "number":
            pads = [self.pick(0, 1) for _ in range(axes)]
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if padding == "same":
            out = list(shape[1:])
        else:
            out = [(s + 2 * p - r - 1) // t + 1
                   for s, p, r, t in zip(shape[1:], pads, reach, stride, strict=True)]  # fmt: skip
        weight = self.weights(outputs, shape[0] // groups, *kernel)
        given: Any = tuple(pads) if padding == "number" else padding
        if axes == 2:
            node = nir.Conv2d(
                tuple(shape[1:]), weight, tuple(stride), given, tuple(dilation), groups,
                self.bias(outputs),
            )  # fmt: skip
        else:
            node = nir.Conv1d(
                shape[1], weight, stride[0], pads[0] if padding == "number" else padding,
                dilation[0], groups, self.bias(outputs),
            )  # fmt: skip
        here, _ = self.add(name, node, here)
        return here, (outputs, *out)

    def neurons(self, name: str, heard: list[str], shape: tuple[int, ...]) -> str:
        """Neurons, some of which hear themselves, some within a subgraph."""
        kind = self.pick("IF", "LIF", "LIF", "CubaLIF", "CubaLIF", "Threshold")
        node = self.cell(kind, shape)
        loops = kind != "Threshold" and len(shape) == 1 and self.random.random() < 0.3
        n = shape[0]
        feedback = None
        if loops:
            weight = self.weights(n, n) / (1 if self.is_whole else 3)
            feedback = (
                nir.Affine(weight, self.bias(n))
                if self.random.random() < 0.5
                else nir.Linear(weight)
            )
        if self.random.random() < 0.2:
            inner: dict[str, Any] = {
                "input": nir.Input({"input": np.array(shape)}), "cell": node,
                "output": nir.Output({"output": np.array(shape)}),
            }  # fmt: skip
            edges = [("input", "cell"), ("cell", "output")]
            if feedback is not None:
                inner["w_rec"] = feedback
                edges += [("cell", "w_rec"), ("w_rec", "cell")]
            node = nir.NIRGraph(inner, edges, type_check=False)
        elif feedback is not None:
            self.nodes[f"{name}.w_rec"] = feedback
            self.edges += [(name, f"{name}.w_rec"), (f"{name}.w_rec", name)]
        self.nodes[name] = node
        self.edges += [(source, name) for source in heard]
        return name

    def integrator(self) -> Any:
        one = np.ones(3)
        tau, leak = one * DT * 4096 / self.pick(4096, 700, 123), 0 * one
        if not self.is_whole:
            leak = one * self.pick(0.0, 0.5)
        if self.random.random() < 0.5:
            return nir.LI(tau=tau, r=tau / DT, v_leak=leak)
        synapse = one * DT * 4096 / self.pick(2048, 500)
        return nir.CubaLI(tau_syn=synapse, tau_mem=tau, r=tau / DT, v_leak=leak, w_in=synapse / DT)

    def cell(self, kind: str, shape: tuple[int, ...]) -> Any:
        size = (1,) if self.random.random() < 0.2 else shape
        one, zero = np.ones(size), np.zeros(size)
        if self.is_whole:
            # decays whose states have no fractions that integers drop
            decay: Any = self.pick(4096, 2048, 1024)
            threshold = one * self.pick(7.0, 15.0, 40.0)
            if kind == "LIF" and decay != 4096 and self.random.random() < 0.5:
                decay = 4096
            elif kind != "LIF" and size == shape and self.random.random() < 0.3:
                decay = self.random.choice([4096, 2048, 1024], size)
        else:
            each = size if size == shape and self.random.random() < 0.3 else ()
            decay = self.random.integers(20, 4097, each)
            threshold = one * 10.0 ** self.random.uniform(-1, 1.3)
            if size == shape and len(shape) == 1 and self.random.random() < 0.3:
                threshold = threshold * self.random.uniform(0.5, 2.0, size)
        if kind == "Threshold":
            return nir.Threshold(threshold)
        if kind == "IF":
            gain = 1.0 if self.is_whole else self.pick(1.0, 0.3)
            return nir.IF(r=one * gain, v_threshold=threshold, v_reset=zero)
        tau = one * DT * 4096 / decay
        if not self.is_whole:
            tau = tau * self.random.uniform(1.0, 1.1)
        gain = 1.0 if self.is_whole else self.pick(1.0, 1.0, 2.5)
        leak = zero
        if not self.is_whole and self.random.random() < 0.2:
            leak = one * self.random.normal(0, 0.2)
        if kind == "LIF":
            return nir.LIF(
                tau=tau, r=gain * tau / DT, v_leak=leak, v_threshold=threshold, v_reset=zero
            )
        each = size if size == shape and self.random.random() < 0.2 else ()
        among = [4096, 2048] if self.is_whole else [4096, 2048, 1000, 300]
        synapse = one * DT * 4096 / self.random.choice(among, each)
        return nir.CubaLIF(
            tau_syn=synapse, tau_mem=tau, r=gain * tau / DT, v_leak=leak, v_threshold=threshold,
            v_reset=zero, w_in=synapse / DT * (1.0 if self.is_whole else self.pick(1.0, 0.4)),
        )  # fmt: skip


def run(seed: int, folder: Path) -> tuple[str, Counter[str], list[str]]:
    """One graph: how its import went, counts of spikes, and what is not explained."""
    maker = Maker(seed)
    path = folder / f"{seed}.nir"
    nir.write(path, maker.graph())
    bits = None if maker.is_whole else int(maker.random.integers(4, 10))
    graph, problems = read_graph(path)
    network, report, refused = convert(graph, path.name, bits=bits, time_step=DT)
    if network is None:
        return "refused", Counter(), problems + refused
    assert not problems
    raster = (maker.random.random((STEPS, network.layers[0].output.size)) < 0.3).astype(np.int32)
    counts: Counter[str] = Counter()
    unexplained: list[str] = []
    by_node = {layer.node: layer for layer in report.layers}
    for layer in compare(graph, network, report.layers, raster, DT):
        found = by_node[layer.node.replace(".", "_")]
        exact = found.is_exact and not found.rounding and found.threshold is not None
        counts.update(layers=1, exact_layers=exact, spikes=layer.integer_spikes)
        counts.update(explained=layer.explained, cut_short=layer.until < STEPS)
        unexplained += layer.unexplained
        if exact and layer.explained:
            unexplained.append(f"{layer.node}: {layer.explained} spikes differ in an exact layer")
    return "exact" if report.is_exact else "approximate", counts, unexplained


@pytest.mark.parametrize("seed", range(40))
def test_no_difference_that_the_printed_errors_do_not_explain(seed: int, tmp_path: Path) -> None:
    status, _, unexplained = run(seed, tmp_path)
    assert not unexplained or (status == "refused" and "differs within a channel" in unexplained[0])


def main() -> None:
    """Many graphs, and one line of what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seed, options.seed + options.count):
            status, counts, unexplained = run(seed, Path(folder))
            total.update(counts)
            total[status] += 1
            total["not explained"] += status != "refused" and bool(unexplained)
            for line in unexplained[:3]:
                print(f"seed {seed}, {status}: {line}")
    print(dict(total))


if __name__ == "__main__":
    main()
