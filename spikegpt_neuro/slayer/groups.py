"""Groups of a NetX file as SLAYER's blocks write them: names, types and integers of stock NetX."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def integer_weight(synapse: Any) -> npt.NDArray[np.float32]:
    """The whole numbers [outputs, inputs] that are deployed."""
    weight = synapse.pre_hook_fx(synapse.weight, descale=True)
    return floats(weight.reshape(synapse.weight.shape[:2]))


def floats(values: Tensor) -> npt.NDArray[np.float32]:
    """A constant as it is written, float32."""
    return values.detach().cpu().float().numpy()


def export_type(handle: Any, kind: str, shape: torch.Size) -> None:
    """What stock NetX asks of every layer: its type and the shape of its output."""
    handle.create_dataset("type", (1,), "S10", [kind.encode("ascii")])
    handle.create_dataset("shape", data=np.array(shape))


def export_shifts(handle: Any, **mixes: Tensor) -> None:
    """1 where a channel takes this token's spike, 0 where the previous token's."""
    for name, mix in mixes.items():
        chosen = (mix.detach() > 0.5).flatten().cpu().numpy().astype(np.uint8)
        handle.create_dataset(f"shift_{name}", data=chosen)


def export_dense(handle: Any, synapse: Any, neuron: Any) -> None:
    """The datasets of a stock NetX dense layer, so that stock lava-dl can load the group."""
    export_type(handle, "dense", torch.Size([synapse.out_channels]))
    handle.create_dataset("inFeatures", data=synapse.in_channels)
    handle.create_dataset("outFeatures", data=synapse.out_channels)
    handle.create_dataset("weight", data=integer_weight(synapse))
    for key, value in neuron.device_params.items():
        handle.create_dataset(f"neuron/{key}", data=value)
