"""Other projects' names of the same tensors, as the released code's.

Hugging Face transformers (``RwkvForCausalLM``) stores RWKV-4 as ``rwkv.embeddings.weight``,
``rwkv.blocks.<i>.{pre_ln,ln1,ln2}``, ``.attention.*``, ``.feed_forward.*``, ``rwkv.ln_out`` and
``head.weight``. BlinkDL's ``.pth`` files have the released SpikeGPT code's names themselves, so
that names cannot tell the two models apart.
"""

from __future__ import annotations

import re
from dataclasses import replace

from spikegpt_neuro.converters.checkpoint_files import TensorFile

_TRANSFORMERS = re.compile(r"(?:rwkv\.)?blocks\.\d+\.(?:attention|feed_forward)\.time_mix_key")
_PARTS = (
    (r"(?:rwkv\.)?embeddings\.weight", r"emb.weight"),
    (r"(?:rwkv\.)?ln_out\.(weight|bias)", r"ln_out.\1"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.pre_ln\.(weight|bias)", r"blocks.\1.ln0.\2"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.(ln[12])\.(weight|bias)", r"blocks.\1.\2.\3"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.attention\.time_mix_([kvr])\w+", r"blocks.\1.att.time_mix_\2"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.attention\.(.+)", r"blocks.\1.att.\2"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.feed_forward\.time_mix_([kr])\w+", r"blocks.\1.ffn.time_mix_\2"),
    (r"(?:rwkv\.)?blocks\.(\d+)\.feed_forward\.(.+)", r"blocks.\1.ffn.\2"),
)
"""Patterns of transformers' names, tried in order, and what takes their place."""


def with_released_names(file: TensorFile) -> tuple[TensorFile, bool]:
    """The file under the released names, and whether its names say that it is plain RWKV-4."""
    if not any(_TRANSFORMERS.fullmatch(name) for name in file.tensors):
        return file, False
    note = "names of Hugging Face transformers' Rwkv: plain RWKV-4, a model without neurons"
    tensors = {_released(name): stored for name, stored in file.tensors.items()}
    return replace(file, tensors=tensors, notes=(*file.notes, note)), True


def _released(name: str) -> str:
    for pattern, replacement in _PARTS:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name
