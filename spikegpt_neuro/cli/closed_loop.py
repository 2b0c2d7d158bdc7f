"""``simulate --closed-loop``: the network chooses its tokens itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from spikegpt_neuro.cli.output import Output, Stopwatch, check_inputs
from spikegpt_neuro.errors import InputError

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.network import LanguageModel
    from spikegpt_neuro.vocabulary import Vocabulary

ClosedLoopOption = Annotated[
    bool,
    typer.Option(
        "--closed-loop",
        help="The network chooses the next token itself, always the most probable one, and feeds "
        "it back: on lava-fine the graph of a chip is left to itself, on other backends the same "
        "tokens are fed back by the host.",
    ),
]

_SAMPLES: Final = {
    "temperature": "0 at most: sampling would need random numbers on the chip",
    "top_p": "a greedy choice needs none", "top_k": "a greedy choice needs none",
    "presence_penalty": "layers that choose remember no tokens",
    "frequency_penalty": "layers that choose remember no tokens",
    "seed": "a greedy choice is the same every time",
}  # fmt: skip
_OTHERS: Final = ("state", "trace", "prompts", "raster")


def check_closed_loop(context: typer.Context, temperature: float) -> None:
    """``InputError`` listing every option that was given and cannot go with ``--closed-loop``."""

    def told(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    problems = [
        f"--{name.replace('_', '-')}: {why}"
        for name, why in _SAMPLES.items()
        if told(name) and not (name == "temperature" and temperature == 0)
    ]
    problems += [f"--{name}: one prompt, and its tokens" for name in _OTHERS if told(name)]
    if problems:
        raise InputError("these options do not go with --closed-loop:", problems)


def run_closed(
    output: Output, backend: Backend, network: LanguageModel, vocabulary: Vocabulary | None,
    prompt: list[int], count: int,
) -> None:  # fmt: skip
    """Generate and show the text, or with ``--json`` the result with all event counts."""
    from spikegpt_neuro.backends.base import ClosedLoop, event_counts
    from spikegpt_neuro.generation import generate_closed
    from spikegpt_neuro.network.selection import with_selection

    chooser = with_selection(network, None if vocabulary is None else vocabulary.size)
    with backend.open_model(chooser) as session:
        watch = Stopwatch()
        chosen = generate_closed(session, prompt, count)
        seconds = watch.seconds
        counters = event_counts(session)
        alone = isinstance(session, ClosedLoop)
    check_inputs()
    text = None if vocabulary is None else vocabulary.decode(chosen)
    result: dict[str, Any] = {
        "text": text,
        "token_ids": chosen,
        "prompt_tokens": len(prompt),
        "tokens_per_second": len(chosen) / seconds if chosen else 0.0,
        "seconds": seconds,
        "backend": backend.name,
        "closed_loop": True,
        "left_to_itself": alone,
        "counters": None if counters is None else counters.to_dict(),
    }
    if output.as_json:
        output.result(result)
    else:
        shown = text if text is not None else " ".join(map(str, chosen))
        sys.stdout.buffer.write(shown.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()
    logits = chooser.logits
    clipped = 0 if counters is None else counters.count(logits.name, "saturations")
    if clipped:
        output.note(
            f"warning: {clipped} logits were clipped to {logits.output.bits} bits; between such "
            "the choice may be another than without --closed-loop."
        )
    where = "left to itself" if alone else "fed back by the host"
    output.note(f"[{len(chosen)} tokens, greedy, {where}, on {backend.name}]")
