"""The commands together, and their errors as exit codes; ``main`` starts them."""

from __future__ import annotations

from typing import Annotated

import typer

from spikegpt_neuro.cli import (
    classify,
    demo,
    doctor,
    endings,
    energy,
    evaluate,
    export,
    fit,
    frontier,
    inspect,
    map,
    measure,
    netx,
    nir,
    profiles,
    publish,
    score,
    serve,
    simulate,
    train,
    verify,
)
from spikegpt_neuro.version import __version__

app = typer.Typer(
    name="spikegpt-neuro",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn a trained SpikeGPT language model into an integer network for neuromorphic chips.",
    epilog="Exit codes: 0 done, 1 a check did not hold or a run broke off, 2 your input, "
    "3 something is missing on this machine, 130 interrupted, 143 ended by SIGTERM.",
)
app.command("export")(export.export)
app.command("fit")(fit.fit)
app.command("inspect")(inspect.inspect)
app.command("simulate")(simulate.simulate)
app.command("score")(score.score)
app.command("evaluate")(evaluate.evaluate)
app.command("classify")(classify.classify)
app.command("verify")(verify.verify)
app.command("energy")(energy.energy)
app.command("map")(map.map_network)
app.command("frontier")(frontier.frontier)
app.command("measure")(measure.measure)
app.command("serve")(serve.serve)
app.command("profiles")(profiles.profiles)
app.command("train")(train.train)
app.command("publish")(publish.publish)
app.add_typer(nir.app, name="nir")
app.add_typer(netx.app, name="netx")
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spikegpt-neuro {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options before the command's name."""


def run() -> None:
    """Run the command asked for; every mistake of the user's ends in a sentence and a code."""
    endings.prepare()
    try:
        app()
    except SystemExit as end:  # typer ends so, after Ctrl-C too
        if end.code == endings.INTERRUPTED:
            endings.interrupted()
        endings.finish(succeeded=not end.code)
        raise
    except BrokenPipeError:
        endings.broken_pipe()
    except KeyboardInterrupt:
        endings.interrupted()
    except Exception as error:
        told = endings.told(error)
        if told is None:
            raise
        endings.fail(*told)
