"""``measure``: joules of a command on this machine, beside an estimate."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.reports.tables import table

_MODES = {"prefill": "pipelined", "generation": "fall-through"}


def measure(
    prefill: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="Command that reads a text, in one string."),
    ] = None,
    prefill_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens that command reads.")
    ] = None,
    generation: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Command that generates.")
    ] = None,
    generation_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens that command generates.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="The same with hardly a token: what loading takes, subtracted from both.",
        ),
    ] = None,
    idle: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="How long idle power is read first.")
    ] = 5.0,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs of each command; the median counts.")
    ] = 1,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Estimates to show beside: a .json report of `energy`."),
    ] = None,
    sysfs: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where Linux's sysfs is.", show_default=True)
    ] = Path("/sys"),
    cards: Annotated[bool, typer.Option(help="Read NVIDIA cards too.")] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure joules a token of commands on this machine, prefill and generation apart.

    Reads RAPL (processor packages and memory) and NVML (NVIDIA cards). Idle power is measured
    first, subtracted and shown. Exit code 3 where no meter can be read, with what was tried.
    """
    output = Output(as_json=as_json, quiet=quiet)
    wanted = [
        (name, shlex.split(command), tokens)
        for name, command, tokens in (
            ("prefill", prefill, prefill_tokens),
            ("generation", generation, generation_tokens),
        )
        if command is not None and tokens is not None
    ]
    given = [(prefill, prefill_tokens), (generation, generation_tokens)]
    if not wanted or any((command is None) != (tokens is None) for command, tokens in given):
        raise InputError(
            "give --prefill with --prefill-tokens, --generation with --generation-tokens, or all."
        )
    from spikegpt_neuro.energy.measured_command import measure_phase
    from spikegpt_neuro.energy.meters import Stretch, find_meters

    estimates = [] if beside is None else _estimates(beside)
    meters = find_meters(sysfs, cards=cards)
    resting = 0.0
    if idle:
        output.note(f"reading idle power for {idle:g} s")
        stretch = Stretch(meters)
        time.sleep(idle)
        resting = stretch.read().watts
    first = None if start is None else shlex.split(start)
    phases = [
        measure_phase(name, command, tokens, meters, resting, first, repeats)
        for name, command, tokens in wanted
    ]
    from spikegpt_neuro.reports.numbers import engineering

    rows = table("phase|what|>energy/token|>above idle|>time/token")
    for phase in phases:
        rows.add_row(
            phase.name,
            "measured here",
            engineering(phase.joules_per_token, "J"),
            engineering(phase.joules_per_token_above_idle, "J"),
            engineering(phase.seconds / phase.tokens, "s"),
        )
        for estimate in estimates:
            if estimate["mode"] == _MODES[phase.name] and estimate["energy"] is not None:
                seconds = estimate["seconds"]
                rows.add_row(
                    phase.name,
                    f"{estimate['profile']} (estimate)",
                    engineering(estimate["energy"], "J"),
                    "-",
                    "-" if seconds is None else engineering(seconds, "s"),
                )
    result = {
        "meters": [meter.name for meter in meters],
        "idle_watts": resting,
        "idle_seconds": idle,
        "phases": [phase.to_dict() for phase in phases],
        "estimates": estimates,
    }
    named = ", ".join(meter.name for meter in meters)
    output.result(result, rows, f"idle power {resting:.2f} W over {idle:g} s; meters: {named}")


def _estimates(path: Path) -> list[dict[str, Any]]:
    """Energy and time of every report in the JSON of ``energy``."""
    try:
        reports = json.loads(path.read_text("utf-8"))["reports"]
        return [
            {
                "profile": report["profile"],
                "mode": report["mode"],
                "energy": report["energy_joules_per_token"],
                "seconds": None if report["time"] is None else report["time"]["seconds_per_token"],
            }
            for report in reports
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no energy report: {error}.",
            advice="Write it with `spikegpt-neuro energy NET --text FILE --output FILE.json`.",
        ) from error
