"""``profiles``: the hardware targets, their numbers and where those come from."""

from __future__ import annotations

from typing import Annotated

import typer

from spikegpt_neuro.cli import completion
from spikegpt_neuro.cli.output import JsonOption, Output, QuietOption


def profiles(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show one profile: a name, or a .toml file of yours.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the hardware targets, or show every number of one and its source."""
    output = Output(as_json=as_json, quiet=quiet)
    from spikegpt_neuro.hardware_profiles import list_profiles, load_profile
    from spikegpt_neuro.reports.profile_tables import profile_details, profile_list
    from spikegpt_neuro.reports.tabular import profile_dict

    if name is not None:
        profile = load_profile(name)
        output.result(profile_dict(profile), *profile_details(profile))
        return
    found = [load_profile(known) for known in list_profiles()]
    listed = [
        {"name": p.name, "title": p.title, "summary": p.summary, "method": p.method} for p in found
    ]
    output.result({"profiles": listed}, profile_list(found))
