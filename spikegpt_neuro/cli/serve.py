"""``serve``: a local endpoint for programs that speak OpenAI's interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.inputs import (
    NetworkArgument,
    ThreadsOption,
    VocabularyOption,
    open_network,
    vocabulary_of,
)
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption
from spikegpt_neuro.errors import Unavailable

if TYPE_CHECKING:
    from spikegpt_neuro.hardware_profiles import Profile


def serve(
    network: NetworkArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is seen by this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="The model's name in requests. Default: NET's, without .net.")
    ] = None,
    streams: Annotated[
        int, typer.Option(metavar="N", min=1, help="Texts generated at a time, in one batch.")
    ] = 32,
    queue: Annotated[
        int, typer.Option(metavar="N", min=0, help="Texts that may wait; others are refused (429).")
    ] = 64,
    max_tokens: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Tokens of prompt and answer together, at most."),
    ] = 4096,
    sessions: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Sessions kept; the one unused for longest is dropped."
        ),
    ] = 64,
    idle_seconds: Annotated[
        float, typer.Option(metavar="S", help="A session unused for so long is dropped.")
    ] = 3600.0,
    sessions_folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep sessions there as state files too, and go on from those found there.",
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="Hardware target whose joules `usage` estimates; none: no joules.",
            autocompletion=completion.profiles,
        ),
    ] = "loihi2",
    grace_seconds: Annotated[
        float,
        typer.Option(
            metavar="S", min=0, help="On SIGTERM or Ctrl-C, streams have so long to finish."
        ),
    ] = 5.0,
    vocab: VocabularyOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve a network to programs that speak OpenAI's interface, and a page to type into.

    Completions and chat, streamed or whole; every text is exactly what `simulate` gives it alone
    with the same seed. There is no authentication: keep it on this machine.
    """
    output = Output(as_json=as_json, quiet=quiet)
    try:
        import fastapi as _fastapi  # noqa: F401
        import uvicorn as _uvicorn  # noqa: F401
    except ImportError as error:
        raise Unavailable(
            "serve needs FastAPI and uvicorn.",
            [str(error)],
            "Install them: pip install 'spikegpt-neuro[serve]'",
        ) from error
    from spikegpt_neuro.network.network import as_language_model
    from spikegpt_neuro.serving import server
    from spikegpt_neuro.serving.engine import Engine
    from spikegpt_neuro.serving.service import Service
    from spikegpt_neuro.serving.sessions import Sessions
    from spikegpt_neuro.serving.usage import Usage

    usage_profile = _profile(profile)
    value = as_language_model(open_network(network))
    vocabulary = vocabulary_of(value, vocab)
    kept = Sessions(value, sessions, idle_seconds=idle_seconds, folder=sessions_folder)
    usage = Usage(value, usage_profile)
    listening = server.bind(host, port)
    if not server.is_loopback(host):
        output.note(
            f"warning: {host} is reached by other machines, and there is no authentication: "
            "whoever reaches it can use it and its sessions."
        )
    engine = Engine(value, vocabulary, streams=streams, queue=queue, threads=threads)
    model = name or network.name.removesuffix(".net")
    service = Service(model, value, vocabulary, engine, kept, usage, most_tokens=max_tokens)

    def ready(url: str) -> None:
        output.note(
            f"{model} is served at {url}/v1 ({streams} streams); a page to type into is at "
            f"{url}/. Ctrl-C ends it."
        )
        if as_json:
            output.result({"url": url, "base_url": f"{url}/v1", "model": model})

    server.serve(service, listening, host, grace=grace_seconds, ready=ready)
    output.note("ended: no stream and no session is left half.")


def _profile(name: str) -> Profile | None:
    from spikegpt_neuro.hardware_profiles import load_profile

    return None if name == "none" else load_profile(name)
