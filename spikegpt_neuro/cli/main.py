"""The program ``spikegpt-neuro``: the commands together, and their errors as exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from spikegpt_neuro.cli import (
    classify,
    demo,
    doctor,
    energy,
    export,
    fit,
    frontier,
    inspect,
    map,
    measure,
    netx,
    nir,
    profiles,
    score,
    serve,
    simulate,
    train,
    verify,
)
from spikegpt_neuro.errors import SpikeGPTNeuroError
from spikegpt_neuro.version import __version__

app = typer.Typer(
    name="spikegpt-neuro",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn a trained SpikeGPT language model into an integer network for neuromorphic chips.",
    epilog="Exit codes: 0 done, 1 a check did not hold or a run broke off, 2 your input, "
    "3 something is missing on this machine, 130 interrupted.",
)
app.command("export")(export.export)
app.command("fit")(fit.fit)
app.command("inspect")(inspect.inspect)
app.command("simulate")(simulate.simulate)
app.command("score")(score.score)
app.command("classify")(classify.classify)
app.command("verify")(verify.verify)
app.command("energy")(energy.energy)
app.command("map")(map.map_network)
app.command("frontier")(frontier.frontier)
app.command("measure")(measure.measure)
app.command("serve")(serve.serve)
app.command("profiles")(profiles.profiles)
app.command("train")(train.train)
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


def main() -> None:
    """Run the program; every mistake of the user's ends in a sentence and an exit code."""
    try:
        app()
    except SpikeGPTNeuroError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # the reader went away (`| head`); nothing is left to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror or error}.", 2)
    except MemoryError:
        _fail("There is not enough memory for this.", 3)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, exit_code: int) -> None:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
