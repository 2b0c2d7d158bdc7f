"""The model card: what a model is, what it predicts, and what its tokens cost, with the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from spikegpt_neuro.backends.emulator import Emulator
from spikegpt_neuro.comparison.float_model import float_scoring
from spikegpt_neuro.energy import Study, build_study, run_text
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import load_profile
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.reports.numbers import count, engineering
from spikegpt_neuro.scoring import score_tokens
from spikegpt_neuro.version import __version__
from spikegpt_neuro.vocabulary import Vocabulary

CARD: Final = "README.md"
_LAYOUTS: Final = {
    "upstream": "SpikeGPT's released layout: LIF neurons on the residual branches",
    "rwkv": "plain RWKV-4, without neurons",
    "spike-driven": "spike-driven: every projection takes spikes",
}


@dataclass(frozen=True)
class Findings:
    """What was counted on a text: ``bits`` per character of the floats and of the integers."""

    study: Study
    predictions: int
    float_bits: float
    integer_bits: float


def find(
    model: SpikeGPT, network: LanguageModel, vocabulary: Vocabulary, text: str, tokens: int,
    profiles: Sequence[str], progress: Callable[[int, int], None],
) -> Findings:  # fmt: skip
    """Score ``text``'s first ``tokens`` predictions both ways, count and price for ``profiles``."""
    if tokens < 1:
        raise InputError(f"tokens is {tokens}; use at least 1.")
    encoded = vocabulary.encode_text(text)
    if encoded.tokens.size < 2:
        raise InputError("the text has fewer than 2 tokens, so there is nothing to predict.")
    ids = encoded.tokens[: tokens + 1]
    ends = encoded.ends[: tokens + 1]
    backend = Emulator()
    run = run_text(backend, network, ids[:-1].tolist(), progress=progress)
    study = build_study(network, run, [load_profile(name) for name in profiles], text="the text")
    with backend.open_model(network) as session:
        integers = score_tokens(
            session, ids, logit_scale=network.logit_scale,
            vocabulary_size=network.info.vocabulary_size, ends=ends,
        )  # fmt: skip
    floats = float_scoring(model, ids, ends=ends)
    return Findings(study, integers.tokens, floats.bits_per_character, integers.bits_per_character)


def model_card(
    name: str, configuration: SpikeGPTConfiguration, model: SpikeGPT,
    vocabulary: Vocabulary | None, findings: Findings | None,
) -> str:  # fmt: skip
    """README.md: Hugging Face's header, then the model, how to use it, and its figures."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tags = ["spiking-neural-network", "spikegpt", "rwkv", "neuromorphic", "spikegpt-neuro"]
    task = "text-classification" if configuration.labels else "text-generation"
    lines = [
        "---", "library_name: spikegpt-neuro", f"pipeline_tag: {task}",
        "tags:", *(f"- {tag}" for tag in tags), "---", "",
        f"# {name}", "",
        f"A SpikeGPT of {configuration.n_layer} blocks and {configuration.n_embd} channels, "
        f"{count(parameters)} parameters: {_LAYOUTS[configuration.layout]}. "
        f"Vocabulary: {count(configuration.vocab_size)} tokens"
        + ("." if vocabulary is None else f" ({vocabulary.kind})."),
        "",
        *_use(configuration),
        *([] if configuration.labels else _figures(findings)),
        "## Configuration", "",
        "```json", json.dumps(configuration.to_dict(), ensure_ascii=False, indent=2), "```", "",
        f"Written by spikegpt-neuro {__version__}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _use(configuration: SpikeGPTConfiguration) -> list[str]:
    lines = ["## Use", ""]
    if not configuration.labels:
        lines += [
            "```python",
            "import spikegpt_neuro.hugging_face  # registers the model's class",
            "from transformers import AutoModelForCausalLM",
            "",
            'model = AutoModelForCausalLM.from_pretrained("this folder")',
            "```",
            "",
        ]
    return [
        *lines,
        "On neuromorphic hardware, as integers:",
        "",
        "```bash",
        "spikegpt-neuro export FOLDER model.net --calibration text.txt",
        "```",
        "",
    ]


def _figures(findings: Findings | None) -> list[str]:
    if findings is None:
        return [
            "## Energy",
            "",
            "Not counted: `spikegpt-neuro publish CHECKPOINT FOLDER --text FILE` adds the table.",
            "",
        ]
    study = findings.study
    lines = [
        "## Prediction and energy", "",
        f"On a text of {count(findings.predictions)} predictions, the state carried through:", "",
        "| arithmetic | bits per character |", "|---|---:|",
        f"| float32 | {findings.float_bits:.4f} |",
        f"| the export's integers | {findings.integer_bits:.4f} |", "",
        "Energy and time a token: events counted exactly while the integers read the text, priced "
        "with published coefficients. Estimates, not measurements.", "",
        "| target | mode | energy a token | range | time a token | chips |",
        "|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for report in study.reports:
        energy, extent = "no data", ""
        if report.energy is not None:
            energy = engineering(report.energy.value, "J")
            low, high = report.energy.low, report.energy.high
            if low != high:
                extent = f"{engineering(low, 'J')} to {engineering(high, 'J')}"
        mode = report.mode if report.profile.method == "event-driven" else "-"
        seconds = engineering(report.timing.value, "s") if report.timing else "-"
        chips = str(report.mapping.chips) if report.mapping else "-"
        lines.append(
            f"| {report.profile.name} | {mode} | {energy} | {extent} | {seconds} | {chips} |"
        )
    statements = [f"- {sentence}" for sentence in study.main.statement]
    return [*lines, "", "Where spikes enter:", "", *statements, ""]
