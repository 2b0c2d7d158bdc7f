"""``classify``: the classes of texts, by a classifier's integer network."""

from __future__ import annotations

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
    from spikegpt_neuro.classification import Decision
    from spikegpt_neuro.events.counters import Counters
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
    from spikegpt_neuro.classification import classify_tokens
    from spikegpt_neuro.hardware_profiles import load_profile
    from spikegpt_neuro.labelled import read_labelled
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.network.network import as_classifier

    if bool(texts) == (labelled is not None):
        raise InputError("give either texts or --file.")
    if against is not None and labelled is None:
        raise InputError("--against goes with --file.")
    load_profile(profile)
    executing = backend_of(backend, threads)
    value = as_classifier(read_network(network))
    vocabulary = vocabulary_of(value, vocab)
    rows = read_labelled(labelled)[:limit] if labelled is not None else ()
    _check_labels(value, {row.label for row in rows})
    given = [row.text for row in rows] if rows else (texts or [])[:limit]
    encoded = [vocabulary.encode(text) for text in given]
    watch = Stopwatch()
    decisions = []
    with output.progress("classifying") as progress, executing.open(value) as session:
        for done, ids in enumerate(encoded, 1):
            decisions.append(classify_tokens(session, value, ids))
            progress(done, len(encoded))
        counters = session.counters
    seconds = watch.seconds
    cost = _cost(value, counters, decisions, profile, packing)
    result: dict[str, Any] = {
        "classes": list(value.info.labels), "pooling": value.info.pooling, "texts": len(decisions),
        "tokens": counters.tokens, "backend": backend, "seconds": seconds,
        "overflows": counters.total("overflows"), "cost": cost,
    }  # fmt: skip
    shown: list[Any] = []
    if rows:
        truth = [row.label for row in rows]
        result |= _judged(value, truth, decisions, confidence)
        shown += _judgement(value, result, confidence)
        if against is not None:
            result["against"] = _float_accuracy(against, value, encoded, truth)
            shown.append(f"the float checkpoint: {result['against']['accuracy']:.2%} right")
    result["decisions"] = [
        {"text": text, **decision.to_dict()}
        | ({} if confidence is None else {"early_after_tokens": decision.early(confidence)})
        for text, decision in zip(given, decisions, strict=True)
    ]
    if not rows:
        lines = table("class|>confidence|>tokens|>settled after|text")
        for text, decision in zip(given, decisions, strict=True):
            lines.add_row(
                decision.label, f"{decision.confidence:.3f}", str(decision.tokens),
                str(decision.settled), text[:_SHOWN_TEXT],
            )  # fmt: skip
        shown.append(lines)
    shown.append(_cost_line(cost))
    output.result(result, *shown)


def _check_labels(network: LanguageModel, found: set[str]) -> None:
    unknown = sorted(found - set(network.info.labels))
    if unknown:
        raise InputError(
            "some texts have classes that this network does not know.",
            [f"label {label!r}" for label in unknown[:20]],
            f"Its classes: {', '.join(network.info.labels)}.",
        )


def _judged(
    network: LanguageModel, truth: list[str], decisions: list[Decision], confidence: float | None
) -> dict[str, Any]:
    """How many of a labelled file are right, in all and with early decisions."""
    from spikegpt_neuro.classification import confusion

    labels = network.info.labels
    found = [decision.label for decision in decisions]
    right = [t == f for t, f in zip(truth, found, strict=True)]
    judged: dict[str, Any] = {
        "accuracy": sum(right) / len(right),
        "confusion": confusion(labels, truth, found).tolist(),
        "mean_confidence": sum(d.confidence for d in decisions) / len(decisions),
        "mean_settled_after_tokens": sum(d.settled for d in decisions) / len(decisions),
    }
    if confidence is not None:
        after = [d.early(confidence) for d in decisions]
        early = [labels[int(d.classes[n - 1])] for d, n in zip(decisions, after, strict=True)]
        judged["early"] = {
            "confidence": confidence,
            "accuracy": sum(t == f for t, f in zip(truth, early, strict=True)) / len(truth),
            "mean_tokens": sum(after) / len(after),
        }
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
    network: LanguageModel, counters: Counters, decisions: list[Decision], profile: str,
    packing: str,
) -> dict[str, Any] | None:  # fmt: skip
    """Joules and seconds of a mean decision; None where the backend counts no events."""
    from spikegpt_neuro.energy.report import build_reports
    from spikegpt_neuro.hardware_profiles import load_profile

    if not counters.tokens:
        return None
    (report,) = build_reports(
        network, counters, [load_profile(profile)], modes=("pipelined",), packing=packing
    )
    tokens = counters.tokens / len(decisions)
    energy, timing = report.energy, report.timing
    joules = report.joules_of(tokens)
    return {
        "profile": profile,
        "tokens_per_decision": tokens,
        "joules_per_token": None if energy is None else energy.value,
        "joules_per_decision": joules,
        "seconds_per_decision": (
            None if timing is None else timing.value * (tokens + timing.fill_steps)
        ),
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
