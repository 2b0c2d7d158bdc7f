"""``classify``: the classes of texts, by a classifier's integer network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    BackendOption,
    NetworkArgument,
    PackingOption,
    ThreadsOption,
    VocabularyOption,
    backend_of,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    from spikegpt_neuro.classification import Classification
    from spikegpt_neuro.hardware_profiles import Profile
    from spikegpt_neuro.network import LanguageModel

_SHOWN_TEXT = 60


def classify(
    network: NetworkArgument,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts, each one an argument.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="Labelled texts instead: .tsv, .csv or .jsonl."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N texts.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="Also decide early: after the first token at which a class has probability P.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="Let this float checkpoint classify --file, too."),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="Hardware target of energy and time, see `profiles`.",
            autocompletion=completion.profiles,
        ),
    ] = "loihi2",
    packing: PackingOption = "middle",
    vocab: VocabularyOption = None,
    backend: BackendOption = "emulator",
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Classify texts, each from rest; of a labelled file, say how many are right.

    Energy and time of a decision are estimates from the events counted, like those of `energy`: all
    tokens of a text enter in consecutive steps.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.classification import classify_texts
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.labelled import read_labelled
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.network.network import as_classifier

    if bool(texts) == (labelled is not None):
        raise InputError("give either texts or --file.")
    if against is not None and labelled is None:
        raise InputError("--against goes with --file.")
    target = load_profile(profile)
    executing = backend_of(backend, threads)
    value = as_classifier(read_network(network))
    vocabulary = vocabulary_of(value, vocab)
    rows = read_labelled(labelled)[:limit] if labelled is not None else ()
    given = [row.text for row in rows] if rows else (texts or [])[:limit]
    watch = Stopwatch()
    with output.progress("classifying") as progress:
        found = classify_texts(
            executing, value, vocabulary, given, truth=[row.label for row in rows],
            progress=progress,
        )  # fmt: skip
    seconds = watch.seconds
    counters = found.run.counters
    cost = _cost(value, found, target, packing)
    result: dict[str, Any] = {
        "classes": list(found.labels), "pooling": value.info.pooling, "texts": len(given),
        "tokens": counters.tokens, "backend": backend, "seconds": seconds,
        "overflows": counters.total("overflows"), "cost": cost,
    }  # fmt: skip
    shown: list[Any] = []
    if rows:
        result |= _judged(found, confidence)
        shown += _judgement(value, result, confidence)
        if against is not None:
            truth = [row.label for row in rows]
            encoded = [vocabulary.encode(text) for text in given]
            result["against"] = _float_accuracy(against, value, encoded, truth)
            shown.append(f"the float checkpoint: {result['against']['accuracy']:.2%} right")
    result["decisions"] = [
        {"text": text, **decision.to_dict()}
        | ({} if confidence is None else {"early_after_tokens": decision.early(confidence)})
        for text, decision in zip(given, found.decisions, strict=True)
    ]
    if not rows:
        lines = table("class|>confidence|>tokens|>settled after|text")
        for text, decision in zip(given, found.decisions, strict=True):
            lines.add_row(
                decision.label, f"{decision.confidence:.3f}", str(decision.tokens),
                str(decision.settled), text[:_SHOWN_TEXT],
            )  # fmt: skip
        shown.append(lines)
    shown.append(_cost_line(cost))
    output.result(result, *shown)


def _judged(found: Classification, confidence: float | None) -> dict[str, Any]:
    """How many of a labelled file are right, in all and with early decisions."""
    matrix, decided = found.confusion, found.decided(confidence)
    assert matrix is not None  # labelled
    count = len(found.decisions)
    judged: dict[str, Any] = {
        "accuracy": decided.accuracy,
        "confusion": matrix.tolist(),
        "mean_confidence": math.fsum(d.confidence for d in found.decisions) / count,
        "mean_settled_after_tokens": sum(d.settled for d in found.decisions) / count,
    }
    if confidence is not None:
        judged["early"] = {
            "confidence": confidence, "accuracy": decided.early_accuracy,
            "mean_tokens": decided.early_tokens,
        }  # fmt: skip
    return judged


def _judgement(
    network: LanguageModel, result: dict[str, Any], confidence: float | None
) -> list[Any]:
    lines = table(["labelled", *(f">taken for {label}" for label in network.info.labels)])
    for label, row in zip(network.info.labels, result["confusion"], strict=True):
        lines.add_row(label, *map(str, row))
    shown = [
        f"{result['accuracy']:.2%} of {result['texts']:,} texts right, mean confidence "
        f"{result['mean_confidence']:.3f}; the decision stands after "
        f"{result['mean_settled_after_tokens']:.1f} of "
        f"{result['tokens'] / result['texts']:.1f} tokens on average",
        lines,
    ]
    if confidence is not None:
        early = result["early"]
        shown.append(
            f"decided at confidence {confidence}: {early['accuracy']:.2%} right after "
            f"{early['mean_tokens']:.1f} tokens on average"
        )
    return shown


def _cost(
    network: LanguageModel, found: Classification, profile: Profile, packing: str
) -> dict[str, Any] | None:
    """Joules and seconds of a mean decision; None where the backend counts no events."""
    from spikegpt_neuro.energy.decisions import decision_cost
    from spikegpt_neuro.energy.report import build_reports

    counters = found.run.counters
    if not counters.tokens:
        return None
    (report,) = build_reports(network, counters, [profile], modes=("pipelined",), packing=packing)
    decided = found.decided()
    cost = decision_cost(report, decided)
    return {
        "profile": profile.name,
        "tokens_per_decision": decided.tokens,
        "joules_per_token": None if report.energy is None else report.energy.value,
        "joules_per_decision": cost.joules,
        "seconds_per_decision": cost.seconds,
        "violations": len(report.violations),
    }


def _cost_line(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return "no energy: this backend does not count events"
    joules, seconds = cost["joules_per_decision"], cost["seconds_per_decision"]
    parts = [] if joules is None else [f"{joules * 1e6:,.3g} uJ"]
    parts += [] if seconds is None else [f"{seconds * 1e3:,.3g} ms"]
    if not parts:
        return f"{cost['profile']}: this profile has neither energies nor times"
    return (
        f"a decision on {cost['profile']}, estimated: {', '.join(parts)} "
        f"({cost['tokens_per_decision']:.1f} tokens)"
    )


def _float_accuracy(
    checkpoint: Path, network: LanguageModel, encoded: list[Any], truth: list[str]
) -> dict[str, Any]:
    """The float model's share of right decisions on the same tokens."""
    import numpy as np

    from spikegpt_neuro.comparison.float_model import load_float_model
    from spikegpt_neuro.training.classification import Examples, accuracy

    place = {label: i for i, label in enumerate(network.info.labels)}
    held = Examples(tuple(encoded), np.array([place[label] for label in truth]), 0)
    found = accuracy(load_float_model(checkpoint, network), held)
    return {"checkpoint": str(checkpoint), "accuracy": found}
