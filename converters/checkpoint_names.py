"""Other projects' names of the same tensors, as the released code's.

Hugging Face transformers (``RwkvForCausalLM``) stores RWKV-4 as ``rwkv.embeddings.weight``,
``rwkv.blocks.<i>.{pre_ln,ln1,ln2}``, ``.attention.*``, ``.feed_forward.*``, ``rwkv.ln_out`` and
``head.weight``. BlinkDL's ``.pth`` files have the released SpikeGPT code's names themselves, so
that names cannot tell the two models apart. spikegpt-myelin has ``embedding.weight`` and
``blocks.0.ffn_pre``, and neurons ``v = (1 - 1 / tau) v + x`` whose parameters stand in ``config``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spikegpt_neuro.converters.checkpoint_files import TensorFile
from spikegpt_neuro.converters.neuron_tensors import NeuronDefaults
from spikegpt_neuro.vocabulary import byte_tokenizer

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


MYELIN = "myelin.spike_language_checkpoint.v1"
_MYELIN_FIXED = {"attention": "rwkv", "spike_input": False, "lif_reset": 0.0}
"""What a model of spikegpt-myelin must be to be SpikeGPT's function, by the configuration's key."""


def with_myelins_names(
    file: TensorFile, configuration: Mapping[str, Any]
) -> tuple[TensorFile, NeuronDefaults, dict[str, Any]]:
    """The file under the released names; its neurons, and what else its ``configuration`` says.

    Neurons are the released layout's where the names are not spikegpt-myelin's.
    """
    if "embedding.weight" not in file.tensors:
        return file, NeuronDefaults(), {}
    problems = [
        f"config: {key} is {configuration[key]!r:.40}, must be {wanted!r}"
        for key, wanted in _MYELIN_FIXED.items()
        if configuration.get(key, wanted) != wanted
    ]
    tau, threshold = (
        configuration.get(f"lif_{key}", v) for key, v in (("tau", 2), ("threshold", 1))
    )
    for key, value, least in (("lif_tau", tau, 1), ("lif_threshold", threshold, 0)):
        if type(value) not in (int, float) or not least <= value < math.inf or value == 0:
            problems.append(f"config: {key} is {value!r:.40}, must be at least {least}, above 0")
    known: dict[str, Any] = {}
    if configuration:
        known["embedding"] = "binary" if configuration.get("spike_embedding", True) else "real"
        known["layout"] = "upstream" if configuration.get("spiking", True) else "rwkv"
    tensors = {
        re.sub(r"^embedding\.", "emb.", name).replace(
            "blocks.0.ffn_pre.", "blocks.0.ffnPre."
        ): stored
        for name, stored in file.tensors.items()
    }
    note = "names of spikegpt-myelin, whose neurons do not scale their current"
    changed = replace(
        file, tensors=tensors, problems=(*file.problems, *problems), notes=(*file.notes, note)
    )
    if problems or known.get("layout") == "rwkv":
        return changed, NeuronDefaults(), known
    return changed, NeuronDefaults(1 / tau, 1.0, float(threshold)), known


def myelins_vocabulary(stored: Any) -> str:
    """The vocabulary in a checkpoint of spikegpt-myelin, as the text of a vocabulary file.

    Characters, a tokenizer, or bytes; empty for anything else.
    """
    values = stored if isinstance(stored, Mapping) else {}
    kind, tokens, text = (values.get(key) for key in ("type", "tokens", "tokenizer_json"))
    if kind == "character" and isinstance(tokens, list):
        return json.dumps({str(i): token for i, token in enumerate(tokens)})
    if kind == "bpe" and isinstance(text, str):
        return text
    return byte_tokenizer() if kind == "byte" else ""


def _released(name: str) -> str:
    for pattern, replacement in _PARTS:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name
