"""``demo``: the whole story on the example checkpoint, for newcomers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikegpt_neuro.cli.inputs import check_free
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption, Stopwatch
from spikegpt_neuro.errors import CheckFailed, InputError
from spikegpt_neuro.reports.tables import table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from spikegpt_neuro.network import LanguageModel
    from spikegpt_neuro.vocabulary import Vocabulary

NAME = "kjv-4x192"
CONTEXT = 256
SCORED = 25_600
VERIFIED = 512
PRICED = 2_048
COMPARED = 5_120
GENERATED = 300
PROMPT = "And God said"
OPPONENTS = {"spike-driven-parallel": "parallel.pt", "rwkv-4x96": "rwkv.pt"}
"""The folders beside the example that hold a spike-driven model and its equal without spikes."""
_FILES = (
    "{0}/{0}.pth",
    "{0}/{0}.vocab.json",
    "{0}/kjv-calibration.txt",
    "{0}/kjv-valid.txt",
    *(f"{name}/{file}" for name, file in OPPONENTS.items()),
)


def _example(folder: Path | None) -> Path:
    """The folder of the example checkpoint: the one given, the installed one, or the checkout's."""
    package = Path(__file__).parents[1]
    places = (
        [package / "examples" / NAME, package.parent / "examples" / NAME]
        if folder is None
        else [folder.absolute()]
    )
    wanted = [name.format(NAME) for name in _FILES]
    for place in places:
        lacking = [name for name in wanted if not _beside(place, name).is_file()]
        if not lacking:
            return place
    raise InputError(
        "The example checkpoint is not here.",
        [f"looked in {place}" for place in places] + [f"not there: {name}" for name in lacking],
        "Install the package again: its wheel holds the example. Or give --example FOLDER, the "
        f"folder examples/{NAME} of the project's source.",
    )


def _beside(example: Path, name: str) -> Path:
    """A file of the example, or of a folder beside it: ``name`` is ``FOLDER/FILE``."""
    folder, file = name.split("/")
    return (example if folder == NAME else example.parent / folder) / file


class _Demo:
    """The steps, their findings, and what is printed on the way."""

    def __init__(self, output: Output, folder: Path, path: Path) -> None:
        self._output = output
        self._folder = folder
        self._path = path
        self._checkpoint = folder / f"{NAME}.pth"
        self._step = 0
        self.found: dict[str, Any] = {}

    def _heading(self, text: str) -> None:
        self._step += 1
        self._output.show(f"\n[bold]{self._step}. {text}[/bold]")

    def export(self) -> tuple[LanguageModel, Vocabulary]:
        """Checkpoint to model.net."""
        from spikegpt_neuro.converters.export import export_checkpoint
        from spikegpt_neuro.network.file import read_network
        from spikegpt_neuro.network.network import as_language_model
        from spikegpt_neuro.texts import read_text
        from spikegpt_neuro.vocabulary import read_vocabulary

        self._heading("Export: the trained checkpoint becomes a network of integers")
        watch = Stopwatch()
        vocabulary = read_vocabulary(self._folder / f"{NAME}.vocab.json")
        calibration = vocabulary.encode(read_text(self._folder / "kjv-calibration.txt"))
        with self._output.progress("exporting") as progress:
            report = export_checkpoint(
                self._checkpoint,
                self._path,
                vocabulary=vocabulary.text,
                calibration=calibration.tolist(),
                progress=lambda what, step, steps: progress(step, steps),
            )
        size = self._path.stat().st_size
        self.found["export"] = {**report.to_dict(), "bytes": size, "seconds": watch.seconds}
        before = self._checkpoint.stat().st_size
        self._output.show(
            f"{report.info.n_layer} blocks of width {report.info.n_embd}, {report.weights:,} "
            f"weights. {before / 1e6:.1f} MB of floating-point numbers became {size / 1e6:.1f} MB "
            f"of 8-bit integers in {watch.seconds:.1f} s: {self._path}"
        )
        return as_language_model(read_network(self._path)), vocabulary

    def score(self, network: LanguageModel, text: npt.NDArray[np.int64]) -> None:
        """Bits per character of the float and the integer model."""
        from spikegpt_neuro.backends import get_backend
        from spikegpt_neuro.comparison.float_model import float_scoring, load_float_model
        from spikegpt_neuro.scoring import score_tokens

        self._heading("Score: is the integer network as good as the checkpoint?")
        with self._output.progress("float model") as progress:
            reference = float_scoring(
                load_float_model(self._checkpoint, network), text, context=CONTEXT, limit=SCORED,
                progress=progress,
            )  # fmt: skip
        with (
            self._output.progress("integers") as progress,
            get_backend("emulator").open_model(network) as session,
        ):
            integers = score_tokens(
                session, text, logit_scale=network.logit_scale,
                vocabulary_size=network.info.vocabulary_size, context=CONTEXT, limit=SCORED,
                progress=progress,
            )  # fmt: skip
        bits, theirs = integers.bits_per_character, reference.bits_per_character
        self.found["score"] = {
            "bits_per_character": bits,
            "bits_per_character_float": theirs,
            "difference_bits_per_character": bits - theirs,
            "tokens": integers.tokens,
        }
        shown = table("model|>bits per character")
        shown.add_row("checkpoint, floating point", f"{theirs:.4f}")
        shown.add_row("network, integers", f"{bits:.4f}")
        self._output.show(
            shown,
            f"Over {integers.tokens:,} characters of text the model never saw. Lower is better; "
            f"guessing by letter frequency alone needs 4.4. Difference: {bits - theirs:+.4f}",
        )

    def generate(self, network: LanguageModel, vocabulary: Vocabulary) -> None:
        """Some text."""
        from spikegpt_neuro.backends import get_backend
        from spikegpt_neuro.generation import generate, read_prompt
        from spikegpt_neuro.sampling import Sampler
        from spikegpt_neuro.sampling_settings import SamplingSettings

        self._heading("Simulate: let it write")
        settings = SamplingSettings(temperature=0.8, top_p=0.9, seed=1)
        sampler = Sampler(settings, network.logit_scale, vocabulary.size)
        with get_backend("emulator").open_model(network) as session:
            logits = read_prompt(session, vocabulary.encode(PROMPT).tolist())
            watch = Stopwatch()
            tokens = [token for token, _ in generate(session, logits, sampler, GENERATED)]
            speed = len(tokens) / watch.seconds
        text = vocabulary.decode(tokens)
        self.found["simulate"] = {
            "text": text, "token_ids": tokens, "tokens_per_second": speed, "prompt": PROMPT,
        }  # fmt: skip
        self._output.show(f"[bold]{PROMPT}[/bold]{text}", f"({speed:,.0f} characters a second)")

    def verify(self, network: LanguageModel, tokens: list[int]) -> None:
        """The emulator and the Lava process graph, integer by integer."""
        from spikegpt_neuro.backends import get_backend
        from spikegpt_neuro.verification import verify

        self._heading("Verify: the emulator against Lava's process graph")
        backend = get_backend("lava")
        found = backend.available()
        if not found.ok:
            self.found["verify"] = {"equal": None, "missing": list(found.missing)}
            self._output.show(
                f"This step is left out: {' and '.join(found.missing)} is not installed. "
                f"{found.advice}"
            )
            return
        watch = Stopwatch()
        with self._output.progress("verifying") as progress:
            result = verify(
                network, tokens, get_backend("emulator"), backend,
                progress=lambda done: progress(done, len(tokens)),
            )  # fmt: skip
        self.found["verify"] = {**result.to_dict(), "seconds": watch.seconds}
        if not result.equal:
            difference = result.difference or result.counter_difference
            raise CheckFailed(f"the emulator and Lava differ: {difference}")
        self._output.show(
            f"Equal: {result.values_compared:,} integers of {len(result.layers)} layers over "
            f"{result.tokens} characters, and every event counter. Lava runs the network as "
            f"{len(network.stages)} communicating processes, one for each part of it "
            f"({watch.seconds:.1f} s)."
        )

    def energy(self, network: LanguageModel, tokens: list[int]) -> None:
        """Three targets."""
        from spikegpt_neuro.backends.emulator import Emulator
        from spikegpt_neuro.energy import build_study, run_text
        from spikegpt_neuro.energy.study import DEFAULT_PROFILES
        from spikegpt_neuro.hardware_profiles import load_profile
        from spikegpt_neuro.reports.terminal import study_summary

        self._heading("Energy: what would a character cost on hardware?")
        with self._output.progress("counting") as progress:
            run = run_text(Emulator(), network, tokens, progress=progress)
        profiles = [load_profile(name) for name in DEFAULT_PROFILES]
        study = build_study(network, run, profiles, text="the validation text")
        self.found["energy"] = study.to_dict()
        # the summary's first table and its sentences on spikes; the rest is for experts
        self._output.show(
            *study_summary(study)[:2],
            "A joule is a watt for a second; 1 µJ is a millionth of one. `spikegpt-neuro energy` "
            "shows the comparison with other kinds of network, every part and every source.",
        )

    def equal_quality(self, tokens: npt.NDArray[np.int64]) -> None:
        """A spike-driven model beside the plain RWKV that predicts as well, whole bills."""
        from spikegpt_neuro.comparison.frontier import evaluate, points_of
        from spikegpt_neuro.converters.export import export_checkpoint
        from spikegpt_neuro.energy.timing import EVERY_MODE
        from spikegpt_neuro.hardware_profiles import load_profile
        from spikegpt_neuro.network.file import read_network
        from spikegpt_neuro.reports.numbers import engineering

        self._heading("Equal quality: what do spikes save where a network without them is as good?")
        profiles = [load_profile(name) for name in ("loihi2", "cmos45-int8")]
        shown = table("model|>bits per character|>target|mode|>energy a character")
        costs: dict[str, list[float]] = {}
        for name, file in OPPONENTS.items():
            checkpoint = self._folder.parent / name / file
            with (
                tempfile.TemporaryDirectory() as folder,
                self._output.progress(f"running {name}") as progress,
            ):
                path = Path(folder) / "model.net"
                export_checkpoint(checkpoint, path, calibration=tokens.tolist())
                network = read_network(path)
                quality = evaluate(
                    network, tokens, context=CONTEXT, chooses=True, progress=progress
                )
                points = points_of(name, network, quality, profiles, EVERY_MODE)
            for point in points:
                joules = point.cost["joules_per_token"] or 0.0
                costs.setdefault(name, []).append(joules)
                shown.add_row(
                    name, f"{quality.bits_per_character:.4f}", point.profile, point.mode,
                    engineering(joules, "J"),
                )  # fmt: skip
        spikes, plain = costs.values()
        times = [b / a for a, b in zip(spikes, plain, strict=True)]
        self.found["equal_quality"] = {"joules_per_character": costs, "times_less": times}
        self._output.show(
            shown,
            f"Reading a text costs the spikes {times[0]:.1f} times less on Loihi 2, generating one "
            f"{times[1]:.1f} times, or {times[2]:.1f} where the chip chooses the characters itself "
            f"(greedily), and 45 nm arithmetic {times[-1]:.1f} times: not five times. "
            "Estimates; `spikegpt-neuro frontier` compares models of your own.",
        )

    def explain(self) -> None:
        """What it all meant."""
        score = self.found["score"]
        checked = self.found["verify"]["equal"]
        proof = (
            "Two independent executions gave the same integers everywhere, so what the fast "
            "emulator says about the network holds for the Lava process graph too."
            if checked
            else "Step 4 was left out: Lava is not installed here, so no second execution was "
            "compared with."
        )
        self._output.show(
            "\n[bold]What you have seen[/bold]",
            "A small SpikeGPT, trained on the King James Bible, was turned from floating-point "
            "numbers into integers small enough for a neuromorphic chip. That cost "
            f"{score['difference_bits_per_character']:+.4f} bits per character of quality. {proof} "
            "The energy figures are estimates: events are counted exactly, and each is multiplied "
            "by a published cost (its source is in `spikegpt-neuro profiles NAME`); nothing was "
            "measured on a chip. In this layout of SpikeGPT spikes are added to the residual "
            "stream, but the big matrix products still take many-valued inputs: they need "
            "multiplications, and spikes alone save little here.",
            f"\nThe network is in {self._path}. Next: spikegpt-neuro simulate {self._path} "
            '--prompt "In the beginning" --tokens 200',
        )


def demo(
    network: Annotated[
        Path | None,
        typer.Option("--output", metavar="NET", help="Keep the network here."),
    ] = None,
    example: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the example checkpoint is.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite NET.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a trained checkpoint through everything: export, score, generate, verify, energy.

    Takes a minute or two. The example comes with the package. Without Lava the step `verify` is
    left out, and said to be.
    """
    output = Output(as_json=as_json, quiet=quiet)
    folder = _example(example)
    if network is None:
        network = Path(tempfile.mkdtemp(prefix="spikegpt-neuro-")) / f"{NAME}.net"
    check_free(network, force=force)
    from spikegpt_neuro.texts import read_text

    watch = Stopwatch()
    run = _Demo(output, folder, network)
    value, vocabulary = run.export()
    text = vocabulary.encode(read_text(folder / "kjv-valid.txt"))
    run.score(value, text)
    run.generate(value, vocabulary)
    run.verify(value, text[:VERIFIED].tolist())
    run.energy(value, text[:PRICED].tolist())
    run.equal_quality(text[:COMPARED])
    run.explain()
    output.result({**run.found, "seconds": watch.seconds}, f"\nDone in {watch.seconds:.0f} s.")
