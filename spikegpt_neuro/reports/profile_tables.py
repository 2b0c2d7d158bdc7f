"""Hardware profiles for people to read in a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.reports.numbers import extent, points
from spikegpt_neuro.reports.tables import table, titled_lines


def profile_details(profile: Profile) -> list[RenderableType]:
    """One profile with every number, its status and source."""
    shown: list[RenderableType] = [
        titled_lines(profile.title, [profile.summary, *profile.warnings])
    ]
    for title, figures in (("Coefficients", profile.coefficients), ("Limits", profile.limits)):
        if not figures:
            continue
        rows = table("name|value|status|source|note", title=title, fold=True)
        for figure in figures.values():
            rows.add_row(figure.name, extent(figure), figure.status, figure.source, figure.note)
        shown.append(rows)
    facts = []
    for c in profile.curves.values():
        facts.append(
            f"{c.name} [{c.argument_unit}: {c.unit}]: {points(c)} ({c.status}; {c.source})"
        )
    facts += [
        f"{f.name}: {'yes' if f.value else 'no'} ({f.status}; {f.source})"
        for f in profile.features.values()
    ]
    facts += [f"{s.name}: {s.chips} chips ({s.status}; {s.source})" for s in profile.systems]
    if facts:
        shown.append(titled_lines("Curves, features, systems", facts))
    if profile.unpublished:
        shown.append(titled_lines("Not published, so not in any figure", list(profile.unpublished)))
    return shown


def profile_list(profiles: list[Profile]) -> Table:
    """All profiles, one a line."""
    rows = table("profile|method|what it is", fold=True)
    for profile in profiles:
        rows.add_row(profile.name, profile.method, profile.title)
    return rows
