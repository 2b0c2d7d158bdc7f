"""SpikeGPT among Hugging Face's models: importing this registers it with ``transformers``.

    import spikegpt_neuro.hugging_face
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("folder")

``save`` writes such a folder (docs/hugging-face.md). Needs the extra ``transformers``.
"""

from __future__ import annotations

import importlib

from spikegpt_neuro.errors import Unavailable
from spikegpt_neuro.publishing import save

try:
    importlib.import_module("transformers")
except ImportError as error:
    raise Unavailable(
        "Hugging Face's classes need the package transformers.",
        ["import transformers"],
        "pip install 'spikegpt-neuro[transformers]'; `spikegpt-neuro publish` writes folders "
        "without it.",
    ) from error

from spikegpt_neuro.hugging_face.configuration import SpikeGPTConfig
from spikegpt_neuro.hugging_face.modeling import (
    RecurrentState,
    SpikeGPTForCausalLM,
    SpikeGPTOutput,
    register,
)

register()

__all__ = ["RecurrentState", "SpikeGPTConfig", "SpikeGPTForCausalLM", "SpikeGPTOutput", "save"]
