"""Files that are not SpikeGPT checkpoints, told by a few names: one sentence each, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OTHERS = (
    (
        r"blocks\.\d+\.att\.(x_r|w0|a0|k_k)",
        "it is an RWKV-7 model: its state is a matrix per head, which no layer here holds",
        "RWKV-4 files are read (--layout rwkv).",
    ),
    (
        r"blocks\.\d+\.att\.(time_maa_\w+|time_decay_w1)",
        "it is an RWKV-6 model: its decays depend on the text, which no layer here holds",
        "RWKV-4 files are read (--layout rwkv).",
    ),
    (
        r"blocks\.\d+\.att\.(ln_x\.weight|time_faaaa)",
        "it is an RWKV-5 model: its state is a matrix per head, which no layer here holds",
        "RWKV-4 files are read (--layout rwkv).",
    ),
    (
        r"(blocks\.\d+\.)?(synapse\.weight(_g|_v)?|neuron\.(current_decay|voltage_decay|scale))",
        "it is a state dict of lava-dl's SLAYER blocks, which does not say how they are connected",
        "Export it from the network's class (`net.export_hdf5`), then give the .net file to any "
        "command.",
    ),
)
"""Pattern of a name, what a file with it is, and what to do."""


def other_model(names: Iterable[str]) -> tuple[str, str] | None:
    """What a file with these tensor names is, and what to do; None where nothing is recognised."""
    names = list(names)
    for pattern, what, advice in _OTHERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return what, advice
    return None
