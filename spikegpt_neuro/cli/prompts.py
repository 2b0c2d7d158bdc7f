"""``simulate --prompts``: several texts at a time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spikegpt_neuro.cli.output import Output, ProgressCallback, Stopwatch
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.network import LanguageModel
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.sampling_settings import SamplingSettings
    from spikegpt_neuro.vocabulary import Vocabulary


def run_prompts(
    output: Output, backend: Backend, network: LanguageModel, vocabulary: Vocabulary,
    settings: SamplingSettings, path: Path, batch: int, count: int, threads: int,
) -> None:  # fmt: skip
    """Generate after every line of ``path`` and show the results in its order.

    Every line is what ``simulate --prompt`` gives alone with the same options, its seed included.
    """
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.texts import read_text

    if batch < 1:
        raise InputError(f"--batch {batch}; at least 1 is needed.")
    if batch > 1 and backend.name != "emulator":
        raise InputError(
            f"--batch {batch} on {backend.name}: there each neuron holds its own state, one text's "
            "at a time.",
            advice="Give --batch 1, or use the emulator.",
        )
    # at line ends only: a prompt may hold other characters that Unicode calls separators
    lines = [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]
    empty = [f"line {number}" for number, line in enumerate(lines, 1) if not line]
    if empty or not lines:
        raise InputError(
            f"{path}: every line must be a text to go on from.", empty or ["it has no lines"]
        )
    prompts = [vocabulary.encode(line).tolist() for line in lines]
    watch = Stopwatch()
    samplers = [Sampler(settings, network.logit_scale, vocabulary.size) for _ in prompts]
    with output.progress("generating") as progress:
        if backend.name == "emulator":
            chosen = _together(network, prompts, samplers, batch, count, threads, progress)
        else:
            chosen = _in_turn(backend, network, prompts, samplers, count, progress)
    seconds = watch.seconds
    rows = [
        {"prompt": line, "text": _text(vocabulary, tokens), "token_ids": tokens}
        for line, tokens in zip(lines, chosen, strict=True)
    ]
    made = sum(map(len, chosen))
    rate = made / seconds if made else 0.0
    found = {
        "results": rows, "batch": batch, "tokens_per_second": rate, "seconds": seconds,
        "backend": backend.name,
    }  # fmt: skip
    if output.as_json:
        output.result(found)
        return
    for number, row in enumerate(rows, 1):
        print(f"[{number}] {row['prompt']}{row['text']}")
    output.note(f"[{made} tokens, {rate:,.1f} tokens/s on {backend.name}, prompts included]")


def _together(
    network: LanguageModel, prompts: list[list[int]], samplers: list[Sampler], batch: int,
    count: int, threads: int, progress: ProgressCallback,
) -> list[list[int]]:  # fmt: skip
    from spikegpt_neuro.backends.batch import BatchSession
    from spikegpt_neuro.generation import generate_batch

    network.check_contents()
    chosen: list[list[int]] = []
    for begin in range(0, len(prompts), batch):
        part = slice(begin, begin + batch)
        with BatchSession(network, len(prompts[part]), threads=threads) as session:
            chosen += generate_batch(
                session, prompts[part], samplers[part], count,
                partial(_told, progress, begin, len(prompts[part]), len(prompts)),
            )  # fmt: skip
    return chosen


def _told(
    progress: ProgressCallback, before: int, now: int, prompts: int, done: int, count: int
) -> None:
    """Tokens of all prompts done, where ``now`` of them are at ``done`` of ``count``."""
    progress(before * count + now * done, prompts * count)


def _in_turn(
    backend: Backend, network: LanguageModel, prompts: list[list[int]], samplers: list[Sampler],
    count: int, progress: ProgressCallback,
) -> list[list[int]]:  # fmt: skip
    from spikegpt_neuro.generation import generate, read_prompt

    chosen = []
    with backend.open_model(network) as session:
        for i, (prompt, sampler) in enumerate(zip(prompts, samplers, strict=True)):
            session.reset()
            logits = read_prompt(session, prompt)
            chosen.append([token for token, _ in generate(session, logits, sampler, count)])
            progress(i + 1, len(prompts))
    return chosen


def _text(vocabulary: Vocabulary, tokens: list[int]) -> str:
    stream = vocabulary.stream()
    pieces = [stream.push(token) for token in tokens]
    return b"".join([*pieces, stream.finish()]).decode("utf-8", "replace")
