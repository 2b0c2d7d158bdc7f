"""Going on with a run: which of its settings may change, and what an extension does.

The number of steps may change, and how often is evaluated and saved. Windows are drawn in the same
order whatever the number of steps, so with the schedule 'constant' a run that is extended is, on a
CPU bit for bit, the longer run. A cosine over more steps was higher at every step before: what
follows then is the rest of the longer cosine, from weights that a shorter one has trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.training.optimiser import Rates, schedule

if TYPE_CHECKING:
    from spikegpt_neuro.training.classifier_loop import ClassificationSettings
    from spikegpt_neuro.training.settings import TrainingSettings

    Settings: TypeAlias = TrainingSettings | ClassificationSettings

MAY_CHANGE = ("steps", "evaluate_every", "save_every")
"""Settings that a run may go on with other values of."""


def resume_path(output: Path) -> Path:
    """Where the full state of the run that writes ``output`` is kept."""
    return output.with_name(output.name + ".resume")


def check_same_run(
    path: Path, content: Mapping[str, Any], settings: Settings,
    configuration: SpikeGPTConfiguration, more: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:  # fmt: skip
    """Raise ``InputError`` listing every setting in which a resume file is another run's.

    ``more``: further facts by name, as stored and as asked for.
    """
    stored = dict(content.get("settings", {}))
    # a file written before a rate or a part of the configuration existed has their defaults
    stored["rates"] = {**asdict(Rates()), **stored.get("rates", {})}
    built = SpikeGPTConfiguration.from_dict(dict(content["configuration"]))
    mine = {"settings": asdict(settings), "configuration": configuration.to_dict()}
    theirs = {"settings": stored, "configuration": built.to_dict()}
    problems = [
        f"{part}.{name}: stored {theirs[part].get(name)!r}, asked for {value!r}"
        for part, values in mine.items()
        for name, value in values.items()
        if theirs[part].get(name) != value and (part, name) not in _FREE
    ]
    problems += [
        f"{name}: stored {found!r}, asked for {wanted!r}"
        for name, (found, wanted) in (more or {}).items()
        if found != wanted
    ]
    step, integer_steps = int(content["step"]), getattr(settings, "integer_steps", 0)
    if step > settings.steps:
        problems.append(f"settings.steps: {step} steps are done, asked for {settings.steps}")
    elif stored.get("steps") != settings.steps and "quantisation" in content:
        problems.append(
            f"settings.steps: stored {stored.get('steps')}, asked for {settings.steps}, but the "
            "phase in the export's integers has begun; start from the model with --from instead"
        )
    elif "quantisation" not in content and settings.steps - step < integer_steps:
        problems.append(
            f"settings.steps: {step} steps are done, asked for {settings.steps} of which the last "
            f"{integer_steps} are in the export's integers"
        )
    if problems:
        raise InputError(
            f"{path} belongs to another run.",
            problems,
            "Give the options it was started with; only --steps, --evaluate-every and --save-every "
            "may change.",
        )


def extension(content: Mapping[str, Any], settings: Settings) -> str:
    """What it means that a run goes on with another number of steps; '' where it does not."""
    before, step = content["settings"]["steps"], int(content["step"])
    if before == settings.steps:
        return ""
    found = f"the run of {before} steps becomes one of {settings.steps}, from step {step} on"
    shape = settings.rates.schedule
    if shape == "constant":
        return f"{found}: the constant rate makes it the same as {settings.steps} steps at once."
    was, now = (schedule(step, n, settings.warm_up, shape) for n in (before, settings.steps))
    return (
        f"{found}: the learning rate goes from {was:.3f} to {now:.3f} of its peak and on along the "
        f"cosine of {settings.steps} steps. {settings.steps} steps at once would have had higher "
        "rates before and end elsewhere; with --schedule constant both are the same."
    )


_FREE = {("settings", name) for name in MAY_CHANGE}
