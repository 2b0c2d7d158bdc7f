"""``simulate``: generate text."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikegpt_neuro.cli.closed_loop import ClosedLoopOption, check_closed_loop, run_closed
from spikegpt_neuro.cli.endings import interrupts_between_steps
from spikegpt_neuro.cli.inputs import (
    BackendOption,
    NetworkArgument,
    RasterOption,
    ThreadsOption,
    VocabularyOption,
    backend_of,
    check_apart,
    listed_tokens,
    open_network,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch, check_inputs
from spikegpt_neuro.cli.prompts import run_prompts
from spikegpt_neuro.cli.raster import run_raster
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.sampling_settings import FOR_TEXT, SamplingSettings

if TYPE_CHECKING:
    from spikegpt_neuro.backends import Backend
    from spikegpt_neuro.generation import SavedState
    from spikegpt_neuro.network import LanguageModel
    from spikegpt_neuro.vocabulary import Vocabulary


def simulate(
    context: typer.Context,
    network: NetworkArgument,
    prompt: Annotated[str | None, typer.Option(help="Text to go on from.")] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Text to go on from, its last line end left out; -: standard input.",
        ),
    ] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(metavar="1,2,3", help="Token ids to go on from, without a text.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Texts to go on from, one a line; each as if it were alone."
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="With --prompts: so many at a time through one pass of the weights (emulator).",
        ),
    ] = 8,
    tokens: Annotated[int, typer.Option(metavar="N", help="Tokens to generate.")] = 100,
    temperature: Annotated[
        float,
        typer.Option(
            help="0: always the most probable token, the same everywhere, but small models circle. "
            "1: as trained."
        ),
    ] = FOR_TEXT.temperature,
    top_p: Annotated[
        float, typer.Option(help="Choose among the most probable tokens that reach this share.")
    ] = FOR_TEXT.top_p,
    top_k: Annotated[int, typer.Option(help="Choose among that many tokens at most; 0: all.")] = 0,
    presence_penalty: Annotated[
        float, typer.Option(help="Subtracted from the logit of every token generated before.")
    ] = 0.0,
    frequency_penalty: Annotated[
        float, typer.Option(help="Subtracted from a token's logit for each time it was generated.")
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the random choices; 0 if none is given and none is in --state."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Go on from the state in FILE if it exists, and save the state there at the end "
            "(emulator only).",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Write the integers of every layer, for each prompt and generated token; of a "
            "chain, on the emulator, also the states of its neurons (LAYER.voltage ...).",
        ),
    ] = None,
    raster: RasterOption = None,
    result: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE.npy",
            help="With --raster: write the last layer there, int32, a row a time step.",
        ),
    ] = None,
    reset_interval: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="With --raster: samples of N time steps follow each other, and the neurons return "
            "to rest before each.",
        ),
    ] = None,
    closed_loop: ClosedLoopOption = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --output.")] = False,
    vocab: VocabularyOption = None,
    backend: BackendOption = "emulator",
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Generate text, token by token, as it appears; or run a stock NetX chain on a raster.

    The same --seed gives the same text again. With --temperature 0 the choice is between integers:
    the same tokens on every backend and machine.
    """
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.texts import read_text

    settings = SamplingSettings(
        temperature, top_p, top_k, presence_penalty, frequency_penalty, seed or 0
    )
    if tokens < 0:
        raise InputError(f"--tokens {tokens}: generate 0 or more.")
    if sum(given is not None for given in (prompt, prompt_file, prompt_tokens)) > 1:
        raise InputError("give either --prompt, --prompt-file or --prompt-tokens.")
    if prompt_file is not None:
        prompt = read_text(prompt_file).removesuffix("\n").removesuffix("\r")
    if state is not None and backend != "emulator":
        raise InputError("--state is for the emulator only.")
    if closed_loop:
        check_closed_loop(context, temperature)
    check_apart([state, trace, result], [network, prompt_file, prompts, raster, vocab])
    value = open_network(network)
    executing = backend_of(backend, threads)
    from spikegpt_neuro.network import Chain

    if raster is not None or isinstance(value, Chain):
        if prompt is not None or prompt_tokens is not None or state is not None:
            raise InputError("--prompt, --prompt-tokens and --state are for text, not for rasters.")
        run_raster(
            output, executing, value, raster, result, trace, reset_interval=reset_interval,
            force=force,
        )  # fmt: skip
        return
    from spikegpt_neuro.network.network import as_language_model

    value = as_language_model(value)
    if prompts is not None:
        if prompt is not None or prompt_tokens is not None or state is not None or trace:
            raise InputError(
                "--prompts goes without --prompt, --prompt-file, --prompt-tokens, --state, --trace."
            )
        known = vocabulary_of(value, vocab)
        run_prompts(output, executing, value, known, settings, prompts, batch, tokens, threads)
        return
    if result is not None:
        raise InputError("--output is for chains, with --raster; redirect standard output.")
    if reset_interval is not None:
        raise InputError("--reset-interval is for chains, with --raster.")
    vocabulary = None
    if prompt is not None or value.vocabulary or vocab is not None:
        vocabulary = vocabulary_of(value, vocab)
    ids = listed_tokens(prompt_tokens) if prompt_tokens is not None else []
    if prompt is not None and vocabulary is not None:
        ids = vocabulary.encode(prompt).tolist()
    if closed_loop:
        run_closed(output, executing, value, vocabulary, ids, tokens)
        return
    run = _Run(output, value, vocabulary, settings, trace, state, keep_random=seed is None)
    generated = run.run(executing, ids, tokens)
    if as_json:
        output.result(generated)
    else:
        output.note(
            f"[{len(generated['token_ids'])} tokens, {generated['tokens_per_second']:,.1f} "
            f"tokens/s on {backend}]"
        )


class _Run:
    """One generation: prompt, tokens, and the files written at its end."""

    def __init__(
        self, output: Output, network: LanguageModel, vocabulary: Vocabulary | None,
        settings: SamplingSettings, trace: Path | None, state: Path | None, *, keep_random: bool,
    ) -> None:  # fmt: skip
        from spikegpt_neuro.sampling import Sampler

        self._output = output
        self._network = network
        self._vocabulary = vocabulary
        size = vocabulary.size if vocabulary is not None else network.info.vocabulary_size
        self._sampler = Sampler(settings, network.logit_scale, size)
        self._keep_random = keep_random
        self._trace = trace
        self._traces: dict[str, list[Any]] = {}
        self._state = state

    def run(self, backend: Backend, prompt: list[int], count: int) -> dict[str, Any]:
        """Generate; text appears on standard output on the way, unless the result is JSON."""
        from spikegpt_neuro.generation import generate, load_state, network_digest, read_prompt

        saved = None
        if self._state is not None and self._state.exists():
            saved = load_state(self._state, self._network)
        traced = [layer.name for layer in self._network.layers] if self._trace else []
        stream = self._vocabulary.stream() if self._vocabulary is not None else None
        generated: list[int] = []
        pieces: list[bytes] = []
        with backend.open_model(self._network, trace=traced) as session:
            if saved is not None:
                self._resume(session, saved)
            if prompt or saved is None:
                logits = read_prompt(session, prompt)
                self._keep(session)
            else:
                logits = saved.logits
            watch = Stopwatch()
            # a state saved in the middle of a token would be that of no number of tokens
            with interrupts_between_steps() as interrupted:
                for token, after in generate(session, logits, self._sampler, count):
                    logits = after
                    generated.append(token)
                    self._keep(session)
                    piece = stream.push(token) if stream is not None else f"{token} ".encode()
                    pieces.append(piece)
                    self._write(piece)
                    if interrupted():
                        break
            seconds = watch.seconds
            pieces.append(stream.finish() if stream is not None else b"")
            self._write(pieces[-1] + b"\n")
            check_inputs()
            if self._state is not None:
                seen = (saved.tokens_seen if saved else 0) + len(prompt) + len(generated)
                self._save(session, logits, network_digest(self._network), seen)
        self._write_trace()
        if interrupted():
            raise KeyboardInterrupt
        text = b"".join(pieces).decode("utf-8", "replace")
        return {
            "text": text if stream is not None else None,
            "token_ids": generated,
            "prompt_tokens": len(prompt),
            "tokens_per_second": len(generated) / seconds if generated else 0.0,
            "seconds": seconds,
            "backend": backend.name,
            "resumed": saved is not None,
        }

    def _write(self, piece: bytes) -> None:
        if not self._output.as_json:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()

    def _resume(self, session: Any, saved: SavedState) -> None:
        session.state = saved.state
        sampler = dict(saved.sampler)
        if not self._keep_random:
            sampler["random"] = self._sampler.state["random"]
        self._sampler.state = sampler

    def _save(self, session: Any, logits: Any, digest: str, seen: int) -> None:
        from spikegpt_neuro.generation import SavedState, save_state

        assert self._state is not None
        save_state(
            self._state, SavedState(digest, session.state, logits, self._sampler.state, seen)
        )

    def _keep(self, session: Any) -> None:
        """Collect the integers of the last tokens; a layer the backend cannot show is left out."""
        if self._trace is None:
            return
        for layer in self._network.layers:
            with suppress(InputError):
                self._traces.setdefault(layer.name, []).append(session.trace(layer.name))

    def _write_trace(self) -> None:
        if self._trace is None:
            return
        import numpy as np

        from spikegpt_neuro.network.atomic import replaced_file

        arrays: dict[str, Any] = {
            name: np.concatenate(parts) for name, parts in self._traces.items()
        }
        with replaced_file(self._trace) as stream:
            np.savez_compressed(stream, **arrays)
