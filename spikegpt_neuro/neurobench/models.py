"""Our networks as NeuroBench models.

NeuroBench looks at a network's ``torch.nn`` modules: their parameters and buffers are its
footprint, ``Linear`` modules its connections, modules named as activations its neurons; hooks on
them see what passes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from neurobench.models import NeuroBenchModel
from torch import Tensor, nn

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.backends.base import Backend
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.connections import Dense


class Spikes(nn.Identity):
    """A layer of LIF neurons, as NeuroBench's hooks see it: what passes is what it sent."""


class IntegerProjection(nn.Linear):
    """int8 weights [outputs, inputs]; integer operands int64 [..., inputs] give exact sums."""

    def __init__(self, weight: npt.NDArray[np.int8]) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.weight = nn.Parameter(torch.from_numpy(weight.copy()), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """``accumulator[j] = sum_k weight[j, k] * x[k]``, int64."""
        return nn.functional.linear(input, self.weight.to(input.dtype))


class _IntegerNetwork(nn.Module):
    """A network's layers as modules: projections, LIF populations, and all other arrays, in the
    types they are stored in."""

    def __init__(self, network: LanguageModel) -> None:
        super().__init__()
        self.projections = nn.ModuleDict()
        self.neurons = nn.ModuleDict({_key(name): Spikes() for name in network.spiking_layers})
        for layer in network.layers:
            if isinstance(layer, Dense):
                self.projections[_key(layer.name)] = IntegerProjection(
                    np.array(layer.weight, np.int8)
                )
            for name in layer.array_specs():
                if not (isinstance(layer, Dense) and name == "weight"):
                    array = torch.from_numpy(np.array(getattr(layer, name)))
                    self.register_buffer(f"{_key(layer.name)}/{name}", array)


class IntegerModel(NeuroBenchModel):
    """An exported network, executed by a backend; every window of a batch starts afresh.

    What the layers sent is passed through modules with the network's integers, where NeuroBench's
    hooks are. Each projection's sums are held against the backend's: RuntimeError where they are
    not equal. ``windows``: read so far; ``counters``: events the backend counted in them. Use it in
    a ``with`` block.
    """

    def __init__(self, network: LanguageModel, backend: str | Backend = "emulator") -> None:
        super().__init__()
        self.network = network
        self.net = _IntegerNetwork(network)
        self.add_activation_module(Spikes)
        self._dense = [layer for layer in network.layers if isinstance(layer, Dense)]
        chosen = get_backend(backend) if isinstance(backend, str) else backend
        wanted = {layer.inputs[0] for layer in self._dense} | {d.name for d in self._dense}
        wanted |= set(network.spiking_layers)
        hidden = sorted(wanted - set(chosen.traceable(network)))
        if hidden:
            raise InputError(
                f"the backend {chosen.name} shows too little of the network for NeuroBench:",
                hidden,
                "Use emulator or lava.",
            )
        self._session = chosen.open_model(network, trace=wanted)
        self.windows = 0

    def __enter__(self) -> IntegerModel:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    @property
    def counters(self) -> Counters:
        """Events of all windows so far, as this project counts them."""
        return self._session.counters

    def __net__(self) -> nn.Module:
        """The modules NeuroBench looks at."""
        return self.net

    def __call__(self, batch: Tensor) -> Tensor:
        """Logits float64 [B, T, V] of tokens int64 [B, T]."""
        return torch.stack([self._window(row.tolist()) for row in batch])

    def _window(self, tokens: list[int]) -> Tensor:
        session = self._session
        session.reset()
        self.windows += 1
        logits = session.score(tokens).astype(np.float64) * self.network.logit_scale
        for name in self.network.spiking_layers:
            self.net.neurons[_key(name)](torch.from_numpy(session.trace(name).astype(np.int64)))
        for layer in self._dense:
            operands = torch.from_numpy(session.trace(layer.inputs[0]).astype(np.int64))
            sums = self.net.projections[_key(layer.name)](operands)
            if not np.array_equal(sums.numpy(), session.trace(layer.name)):
                raise RuntimeError(f"{layer.name}: NeuroBench's module and the backend differ")
        return torch.from_numpy(logits)


class FloatModel(NeuroBenchModel):
    """A float SpikeGPT; its LIF layers' spikes pass through modules of no computation."""

    def __init__(self, model: SpikeGPT) -> None:
        super().__init__()
        names: list[str] = []
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 1, dtype=torch.int64), observe=lambda n, _: names.append(n))
        spiking = [name for name in names if f"{name}.membrane" in names]
        self.net = nn.Module()
        self.net.model = model
        self.net.neurons = nn.ModuleDict({_key(name): Spikes() for name in spiking})
        self.add_activation_module(Spikes)

    def __net__(self) -> nn.Module:
        """The modules NeuroBench looks at."""
        return self.net

    def __call__(self, batch: Tensor) -> Tensor:
        """Logits float32 [B, T, V] of tokens int64 [B, T]."""
        neurons: nn.ModuleDict = self.net.neurons  # type: ignore[assignment]

        def see(name: str, value: Tensor) -> None:
            if _key(name) in neurons:
                neurons[_key(name)](value)

        with torch.inference_mode():
            logits, _ = self.net.model(batch, observe=see)  # type: ignore[operator]
        found: Tensor = logits
        return found


def _key(name: str) -> str:
    """A layer's name as a module's, which holds no dots."""
    return name.replace(".", "/")
