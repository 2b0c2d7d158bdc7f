"""``evaluate``: tasks of lm-evaluation-harness, on several backends side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import VocabularyOption, check_available
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.reports.tables import table


def evaluate(
    network: Annotated[
        Path, typer.Argument(metavar="NET", help="A language model written by `export`.")
    ],
    tasks: Annotated[
        str, typer.Option(metavar="A,B", help="Names of tasks, with commas between them.")
    ],
    include: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Tasks in YAML, beside those of lm_eval itself."),
    ] = None,
    backends: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="As `verify`'s: float (see --against), emulator, lava ...",
            autocompletion=completion.compared,
        ),
    ] = "emulator",
    against: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="The float checkpoint that NET was exported from."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="First N documents of each task.")
    ] = None,
    prefix: Annotated[
        str,
        typer.Option(
            help="Text before a document without context; its own tokens are not predicted."
        ),
    ] = "\n",
    vocab: VocabularyOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run tasks of EleutherAI's lm-evaluation-harness and show backends side by side.

    Needs the extra lm-eval. Tasks of lm_eval itself download their texts; those in
    examples/evaluation are made from the example's held-out text.
    """
    output = Output(as_json=as_json, quiet=quiet)
    names = [name.strip() for name in backends.split(",") if name.strip()]
    check_available([name for name in names if name != "float"])
    # the harness draws bars of its own, which tqdm is asked to leave out when it is imported
    os.environ.setdefault("TQDM_DISABLE", "1")
    from spikegpt_neuro.harness import evaluate as run

    wanted = [name.strip() for name in tasks.split(",") if name.strip()]
    with output.progress("evaluating") as progress:
        results, costs = run(
            network, wanted, names, against=against, include=include, limit=limit,
            vocabulary=vocab, prefix=prefix,
            progress=lambda backend, done, total: progress(done, total),
        )  # fmt: skip
    rows = table("task|metric|>documents|>" + "|>".join(names))
    for result in results:
        rows.add_row(
            result.task, result.metric, str(result.samples),
            *(f"{result.values[name]:.4f}" for name in names),
        )  # fmt: skip
    integers = [name for name in names if name != "float"]
    lines = [
        f"{name}: {costs[name]['tokens']:,} tokens in {costs[name]['seconds']:.1f} s"
        for name in names
    ]
    differing = [f"{r.task} {r.metric}" for r in results if not r.integers_agree]
    if len(integers) > 1:
        lines.append(
            f"{' and '.join(integers)} gave the same numbers, bit for bit"
            if not differing
            else f"backends of integers differ: {', '.join(differing)}"
        )
    output.result(
        {
            "results": [
                {"task": r.task, "metric": r.metric, "documents": r.samples, "values": r.values}
                for r in results
            ],
            "backends": costs,
            "integers_agree": not differing,
        },
        rows, *lines,
    )  # fmt: skip
    if differing:
        raise typer.Exit(1)
