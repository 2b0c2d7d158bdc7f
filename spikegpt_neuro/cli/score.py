"""``score``: how well a network predicts a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikegpt_neuro.cli.inputs import (
    BackendOption,
    NetworkArgument,
    ThreadsOption,
    VocabularyOption,
    backend_of,
    check_available,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table


def score(
    network: NetworkArgument,
    text: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEXT...",
            help="A UTF-8 file (- reads stdin), or a corpus: several files and folders.",
        ),
    ],
    context: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Start afresh every N tokens. Default: the state is carried on through the text.",
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Predict only the first N tokens.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT", help="Score this float checkpoint too, and show the difference."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Corpus: processes on this machine (Dask workers).")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Corpus: a running Dask scheduler to compute on."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Corpus: keep finished parts there; a restart does not repeat them.",
        ),
    ] = None,
    vocab: VocabularyOption = None,
    backend: BackendOption = "emulator",
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a text: bits per character, bits per token, perplexity.

    Every token predicts the next one; the figure is the mean of -log2 p. Lower is better: 8 bits is
    no knowledge of bytes, English text scores about 1 to 2 bits a character with small models.

    Of a corpus, every document starts afresh; the result is the same for any number of workers.
    """
    output = Output(as_json=as_json, quiet=quiet)
    if len(text) > 1 or text[0].is_dir() or workers != 1 or scheduler or results:
        if tokens is not None or against is not None:
            raise InputError("--tokens and --against are for a single text.")
        if threads != 1:
            raise InputError(
                "--threads is for a single text.", advice="A corpus is shared by --workers."
            )
        _score_corpus(
            output, network, text, context, vocab, backend,
            workers=workers, scheduler=scheduler, results=results,
        )  # fmt: skip
        return
    from spikegpt_neuro.backends.base import event_counts
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.scoring import score_tokens
    from spikegpt_neuro.texts import read_text

    executing = backend_of(backend, threads)
    value = as_language_model(read_network(network))
    vocabulary = vocabulary_of(value, vocab)
    encoded = vocabulary.encode_text(read_text(text[0]))
    array, loss = encoded.tokens, vocabulary.loss(encoded)
    watch = Stopwatch()
    with output.progress("scoring") as progress, executing.open(value) as session:
        scoring = score_tokens(
            session, array, logit_scale=value.logit_scale,
            vocabulary_size=value.info.vocabulary_size, context=context, limit=tokens,
            ends=encoded.ends, progress=progress,
        )  # fmt: skip
        counters = event_counts(session)
        overflows = None if counters is None else counters.total("overflows")
    seconds = watch.seconds
    result: dict[str, Any] = {
        "bits_per_character": scoring.bits_per_character,
        "bits_per_token": scoring.bits_per_token,
        "perplexity": scoring.perplexity,
        "tokens": scoring.tokens,
        "characters": scoring.characters,
        "context": context,
        "windows": len(scoring.window_bits),
        "backend": backend,
        "overflows": overflows,
        "seconds": seconds,
        "tokens_per_second": scoring.tokens / seconds,
    }
    windows = f"{len(scoring.window_bits)} windows of {context}" if context else "state carried on"
    lines = [
        f"{scoring.bits_per_character:.4f} bits per character (perplexity per token "
        f"{scoring.perplexity:.3f}) over {scoring.tokens:,} tokens, {windows}; "
        f"{result['tokens_per_second']:,.0f} tokens/s on {backend}",
    ]
    if loss:
        result["note"] = loss
        lines.append(f"note: {loss}")
    if overflows:
        lines.append(f"{overflows:,} accumulators exceeded the declared width")
    if against is not None:
        from spikegpt_neuro.comparison.float_model import float_scoring, load_float_model

        with output.progress("float model") as progress:
            reference = float_scoring(
                load_float_model(against, value), array, context=context, limit=tokens,
                ends=encoded.ends, progress=progress,
            )  # fmt: skip
        difference = scoring.bits_per_character - reference.bits_per_character
        result["against"] = {
            "checkpoint": str(against),
            "bits_per_character": reference.bits_per_character,
            "difference_bits_per_character": difference,
        }
        lines.append(
            f"{reference.bits_per_character:.4f} bits per character for the float checkpoint; the "
            f"integer network is {difference:+.4f}"
        )
    output.result(result, *lines)


def _score_corpus(
    output: Output, network: Path, paths: list[Path], context: int | None, vocab: Path | None,
    backend: str, *, workers: int, scheduler: str | None, results: Path | None,
) -> None:  # fmt: skip
    from spikegpt_neuro.corpus.documents import find_documents, sha256_of
    from spikegpt_neuro.corpus.run import score_corpus
    from spikegpt_neuro.corpus.shard import Settings
    from spikegpt_neuro.network.file import read_network
    from spikegpt_neuro.network.network import as_language_model

    check_available([backend])
    vocabulary = vocabulary_of(as_language_model(read_network(network)), vocab)
    settings = Settings(
        str(network.resolve()), sha256_of(network), vocabulary.text, context, backend
    )
    with output.progress("scoring bytes") as progress:
        found = score_corpus(
            find_documents(paths), settings, workers=workers, scheduler=scheduler,
            results=results, progress=progress,
        )  # fmt: skip
    values = found.to_dict()
    rows = table("document|>tokens|>bits per character")
    for document in values["documents"]:
        rows.add_row(
            document["name"], f"{document['tokens']:,}", f"{document['bits_per_character']:.4f}"
        )
    output.result(
        values,
        rows,
        f"{values['bits_per_character']:.4f} bits per character (perplexity per token "
        f"{values['perplexity']:.3f}) over {found.tokens:,} tokens of "
        f"{len(found.documents):,} documents",
    )
