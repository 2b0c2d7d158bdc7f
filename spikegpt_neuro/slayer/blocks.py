"""SpikeGPT's parts as lava-dl SLAYER blocks: one ``torch.nn.Sequential`` with ``slayer.block.*``.

SLAYER's conventions hold throughout: tensors are NCT (batch, channel, time), neurons are made from
a parameter dictionary, weights pass the neuron's 8-bit pre-hook (``weight_scale`` scales their
initial values), ``shape`` and ``neuron.device_params`` describe a block, ``count_log`` returns the
mean event rate as a second value, ``delay_shift`` adds the one-step delay between blocks,
``persistent_state`` in the neuron parameters carries all state on to the next call, and
``export_hdf5(handle)`` writes the block. As SLAYER's neurons do, the blocks' forward pass computes
the integers that are deployed, WKV and gates included (by the same layers that the imported network
runs), with the gradients of the real-valued functions.

Importing this module needs lava-dl (``Unavailable`` otherwise).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spikegpt_neuro.backends.lava.runtime.compatibility import import_lava_dl
from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.converters.builder import Builder
from spikegpt_neuro.converters.netx_blocks import gating, mixing
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model import kernels
from spikegpt_neuro.model.blocks import embed, hard_token_shift
from spikegpt_neuro.model.passage import straight_through
from spikegpt_neuro.model.wkv import WkvState, wkv
from spikegpt_neuro.network.atomic import replaced_file
from spikegpt_neuro.network.schema import Layer
from spikegpt_neuro.slayer.groups import (
    export_dense,
    export_shifts,
    export_type,
    floats,
    integer_weight,
)
from spikegpt_neuro.slayer.norms import check_norms

_StockNeuron: Any = import_lava_dl("lava.lib.dl.slayer.neuron.cuba").Neuron
_StockDense: Any = import_lava_dl("lava.lib.dl.slayer.block.cuba").Dense
_synapse = import_lava_dl("lava.lib.dl.slayer.synapse.layer")
_step_delay = import_lava_dl("lava.lib.dl.slayer.block.base").step_delay
_quantize = import_lava_dl("lava.lib.dl.slayer.utils").quantize


class _Integrate(torch.autograd.Function):
    """SLAYER's leaky integrator by the compiled kernels; same integers, same gradients."""

    @staticmethod
    def forward(
        ctx: Any, driving: Tensor, decay: Tensor, state: Tensor, threshold: float, scale: int
    ) -> Tensor:
        rows = driving.reshape(-1, driving.shape[-1]).contiguous()
        keep = ((1 << 12) - decay.detach().long()).expand(driving.shape[:-1]).reshape(-1)
        before = (state.detach() * scale).long().expand(driving.shape[:-1]).reshape(-1)
        result = torch.empty_like(rows)
        kernels.slayer_integrate(
            rows.detach().numpy(), keep.contiguous().numpy(), before.contiguous().numpy(),
            threshold * scale, float(scale), result.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(result, keep, decay)
        return result.view(driving.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        result, keep, decay = ctx.saved_tensors
        rows = gradient.reshape(result.shape).contiguous()
        to_rows = torch.empty_like(rows)
        share = keep.to(rows.dtype) / (1 << 12)
        kernels.slayer_integrate_backward(rows.numpy(), share.numpy(), to_rows.numpy())
        to_decay = None
        if ctx.needs_input_grad[1]:
            products = (to_rows[:, 1:] * result[:, :-1]).sum(1).view(gradient.shape[:-1])
            to_decay = products.sum().view(1) if decay.numel() == 1 else products.sum(0)
        return to_rows.view(gradient.shape), to_decay, None, None, None


class Neuron(_StockNeuron):
    """``slayer.neuron.cuba.Neuron`` with compiled dynamics on a CPU, for NCT input.

    Spikes, states, gradients and ``device_params`` equal the stock neuron's; on other devices and
    for per-channel parameters before their first use the stock dynamics run.
    """

    current_state: Tensor
    voltage_state: Tensor
    persistent_state: bool

    def dynamics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Current and voltage, as the stock neuron's ``dynamics``."""
        ready = self.shape is not None and self.current_state.shape == input.shape[:-1]
        if input.device.type != "cpu" or not ready or input.shape[1:-1] != self.shape:
            return self._first_dynamics(input)
        if self.requires_grad:
            self.clamp()
        current = _Integrate.apply(
            input, _quantize(self.current_decay), self.current_state, -1.0, self.s_scale
        )  # type: ignore[no-untyped-call]
        if self.norm is not None:
            current = self.norm(current)
        voltage = _Integrate.apply(
            current, _quantize(self.voltage_decay), self.voltage_state,
            self.threshold + self.threshold_eps, self.s_scale,
        )  # type: ignore[no-untyped-call]  # fmt: skip
        if self.persistent_state:
            self.current_state = current[..., -1].detach().clone()
            self.voltage_state = voltage[..., -1].detach().clone()
        return current, voltage

    def _first_dynamics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Let the stock neuron check shapes and set up states on one time step, then go on."""
        if input.device.type != "cpu":
            return super().dynamics(input)
        with torch.no_grad():
            persistent = self.persistent_state
            self.persistent_state = False
            super().dynamics(input[..., :1])
            self.persistent_state = persistent
        return self.dynamics(input)


class _Integers:
    """Integer layers of a block, executed over a batch; keeps the state of every sequence."""

    def __init__(self) -> None:
        self._state: npt.NDArray[np.int32] | None = None

    def __call__(
        self, layers: Sequence[Layer], accumulators: Mapping[str, Tensor], scale: int,
        *, keep_state: bool,
    ) -> Tensor:  # fmt: skip
        """The last layer's values [N, C, T], real numbers.

        ``accumulators``: [N, C, T] in units of ``1 / scale``, by the names ``layers`` read.
        """
        integers = {
            name: torch.round(value.detach() * scale).to(torch.int32).mT.cpu().numpy()
            for name, value in accumulators.items()
        }
        like = next(iter(accumulators.values()))
        batch, length = like.shape[0], like.shape[-1]
        program = Program(layers, sizes={name: a.shape[-1] for name, a in integers.items()})
        state = self._state if keep_state else None
        if state is None or state.shape[0] != batch:
            state = np.tile(program.state, (batch, 1))
        last = layers[-1]
        result = np.empty((batch, length, last.output.size), np.float32)
        program.reserve(length)
        for row in range(batch):
            program.state[:] = state[row]
            for name, values in integers.items():
                program.value(name)[:] = values[row]
            program.run(np.zeros(length, np.int64))
            np.multiply(program.value(last.name), last.output.scale, out=result[row])
            state[row] = program.state
        self._state = state
        return torch.from_numpy(result).mT.to(like)


class Dense(_StockDense):
    """``slayer.block.cuba.Dense`` with the compiled neuron; exports as the stock block does."""

    def __init__(self, neuron_params: dict[str, Any], *arguments: Any, **choices: Any) -> None:
        super().__init__(neuron_params, *arguments, **choices)
        self.neuron = Neuron(**neuron_params)
        if "pre_hook_fx" not in choices:
            self.synapse.pre_hook_fx = self.neuron.quantize_8bit


class _Block(nn.Module):
    """What the blocks below share: one output neuron, the step delay and the event rate."""

    def __init__(
        self, neuron_params: dict[str, Any], weight_scale: float, delay_shift: bool, count_log: bool
    ) -> None:
        super().__init__()
        self._weight_scale = weight_scale
        self.neuron = Neuron(**neuron_params)
        self.delay_shift = delay_shift
        self.count_log = count_log
        self._previous: Tensor | None = None
        self._integers = _Integers()

    @property
    def shape(self) -> torch.Size:
        """Shape of the block's output, without batch and time."""
        return torch.Size(self.neuron.shape)

    def _synapse(self, inputs: int, outputs: int) -> Any:
        return _synapse.Dense(
            inputs, outputs, self._weight_scale, pre_hook_fx=self.neuron.quantize_8bit
        )

    def _exact(self, part: Builder, accumulators: Mapping[str, Tensor], value: Tensor) -> Tensor:
        """The integers of ``part``, with the gradient of ``value``, which they approximate."""
        exact = self._integers(
            part.layers,
            {part.name(name): x for name, x in accumulators.items()},
            self.neuron.w_scale,
            keep_state=self.neuron.persistent_state,
        )
        return straight_through(value, exact)

    def _shift(self, x: Tensor) -> Tensor:
        """The previous step's spikes; carried over calls with ``persistent_state``."""
        first = self._previous
        if first is None or first.shape != x.shape[:-1] or not self.neuron.persistent_state:
            first = torch.zeros_like(x[..., 0])
        self._previous = x[..., -1].detach()
        return torch.cat((first.unsqueeze(-1), x[..., :-1]), dim=-1)

    def _send(self, spikes: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.delay_shift:
            spikes = _step_delay(self, spikes)
        if self.count_log:
            return spikes, (spikes > 0).float().mean()
        return spikes


def _ramp(channels: int) -> nn.Parameter:
    return nn.Parameter(torch.arange(channels).float().view(channels, 1) / channels + 0.25)


class SRWKV(_Block):
    """Spikes in, spikes out: hard shift, ``Lif(output(Lif(sigmoid(r) * wkv(k, v))))``.

    Shapes: [N, channels, T] to [N, channels, T]. ``k``, ``v``, ``r`` and ``output`` are SLAYER
    synapses with 8-bit weights; both LIFs are ``Neuron(**neuron_params)``.
    """

    def __init__(
        self, neuron_params: dict[str, Any], channels: int, *,
        weight_scale: float = 1.0, delay_shift: bool = True, count_log: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(neuron_params, weight_scale, delay_shift, count_log)
        self.product_neuron = Neuron(**neuron_params)
        self.key, self.value, self.receptance, self.output = (
            self._synapse(channels, channels) for _ in range(4)
        )
        self.time_mix_k, self.time_mix_v, self.time_mix_r = (_ramp(channels) for _ in range(3))
        self.time_decay = nn.Parameter(torch.linspace(-5, 3, channels))
        self.time_first = nn.Parameter(torch.full((channels,), math.log(0.3)))
        self._state: WkvState | None = None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """One pass over [N, channels, T]."""
        previous = self._shift(x)
        k = self.key(hard_token_shift(x, previous, self.time_mix_k))
        v = self.value(hard_token_shift(x, previous, self.time_mix_v))
        r = self.receptance(hard_token_shift(x, previous, self.time_mix_r))
        state = self._state if self.neuron.persistent_state else None
        if state is not None and state.exponent.shape[0] != x.shape[0]:
            state = None
        averaged, after = wkv(self.time_decay, self.time_first, k.mT, v.mT, state)
        self._state = WkvState(*(part.detach() for part in after))
        part = mixing(
            "srwkv",
            self.neuron.w_scale,
            integer_weight(self.value),
            *(floats(constant) for constant in (self.time_decay, self.time_first)),
        )
        mixed = self._exact(
            part, {"key": k, "value": v, "receptance": r}, torch.sigmoid(r) * averaged.mT
        )
        fired = self.product_neuron(mixed)
        return self._send(self.neuron(self.output(fired)))

    def export_hdf5(self, handle: Any) -> None:
        """Write the block: its projections as stock dense groups, its constants as float32."""
        export_type(handle, "srwkv", self.shape)
        handle.create_dataset("scale", data=self.neuron.w_scale)
        export_shifts(handle, k=self.time_mix_k, v=self.time_mix_v, r=self.time_mix_r)
        for name in ("time_decay", "time_first"):
            handle.create_dataset(name, data=floats(getattr(self, name)))
        for name in ("key", "value", "receptance"):
            export_dense(handle.create_group(name), getattr(self, name), self.product_neuron)
        export_dense(handle.create_group("output"), self.output, self.neuron)


class SRFFN(_Block):
    """Spikes in, spikes out: hard token shift, ``Lif(sigmoid(r) * value(Lif(key)))``.

    Shapes: [N, channels, T] to [N, channels, T].
    """

    def __init__(
        self, neuron_params: dict[str, Any], channels: int, hidden: int = 0, *,
        weight_scale: float = 1.0, delay_shift: bool = True, count_log: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(neuron_params, weight_scale, delay_shift, count_log)
        self.hidden_neuron = Neuron(**neuron_params)
        hidden = hidden or 4 * channels
        self.key = self._synapse(channels, hidden)
        self.receptance = self._synapse(channels, channels)
        self.value = self._synapse(hidden, channels)
        self.time_mix_k, self.time_mix_r = (_ramp(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """One pass over [N, channels, T]."""
        previous = self._shift(x)
        fired = self.hidden_neuron(self.key(hard_token_shift(x, previous, self.time_mix_k)))
        r = self.receptance(hard_token_shift(x, previous, self.time_mix_r))
        v = self.value(fired)
        part = gating("srffn", self.neuron.w_scale, v.shape[1])
        gated = self._exact(part, {"value": v, "receptance": r}, torch.sigmoid(r) * v)
        return self._send(self.neuron(gated))

    def export_hdf5(self, handle: Any) -> None:
        """Write the block: its projections as stock dense groups, its constants as float32."""
        export_type(handle, "srffn", self.shape)
        handle.create_dataset("scale", data=self.neuron.w_scale)
        export_shifts(handle, k=self.time_mix_k, r=self.time_mix_r)
        export_dense(handle.create_group("key"), self.key, self.hidden_neuron)
        for name in ("receptance", "value"):
            export_dense(handle.create_group(name), getattr(self, name), self.neuron)


class BinaryEmbedding(nn.Module):
    """Token ids [N, 1, T] (any dtype, whole numbers) to bits [N, channels, T]: weight >= 0."""

    def __init__(self, vocab_size: int, channels: int, *, count_log: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, channels) * 0.1)
        self.count_log = count_log

    @property
    def shape(self) -> torch.Size:
        """Shape of the output, without batch and time."""
        return self.weight.shape[1:]

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Bits of every token."""
        bits = embed(tokens[:, 0].long(), self.weight, binary=True).mT
        return (bits, (bits > 0).float().mean()) if self.count_log else bits

    def export_hdf5(self, handle: Any) -> None:
        """Write the table as bits, uint8 [vocabulary, channels]."""
        export_type(handle, "embedding", self.shape)
        handle.create_dataset("table", data=(self.weight >= 0).cpu().numpy().astype(np.uint8))


STOCK_TYPES = (b"input", b"dense", b"conv", b"flatten")
"""Layer types that stock NetX reads and runs."""


def export_chain(path: Path, blocks: Iterable[Any], *, stock: bool = True) -> None:
    """Write a chain of blocks as a NetX file (``/layer/0``, ``/layer/1``, ...).

    Raises ``InputError`` where a block writes a type that stock NetX does not run, and would skip
    without a word, or has a norm that no file holds (``check_norms``). ``stock`` False allows the
    blocks of this module, too: such a file `spikegpt-neuro netx import` reads.
    """
    blocks = list(blocks)
    check_norms(blocks, own=_Block)
    with replaced_file(path) as stream, h5py.File(stream, "w") as file:
        layers = file.create_group("layer")
        for i, block in enumerate(blocks):
            if not hasattr(block, "export_hdf5"):
                raise InputError(f"block {i}, {type(block).__name__}, has no export_hdf5.")
            block.export_hdf5(layers.create_group(str(i)))
            kind = bytes(layers[f"{i}/type"][0])
            if stock and kind not in STOCK_TYPES:
                raise InputError(
                    f"block {i} is of type {kind.decode()}, which stock NetX does not run.",
                    advice="A stock chain may hold "
                    + ", ".join(k.decode() for k in STOCK_TYPES)
                    + "; with stock=False the file is for `spikegpt-neuro netx import`.",
                )
