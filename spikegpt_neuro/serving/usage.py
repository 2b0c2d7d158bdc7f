"""``usage``: tokens, counted events and estimated joules of exactly the streams of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikegpt_neuro.energy.activity import activities
from spikegpt_neuro.energy.report import build_report
from spikegpt_neuro.energy.timing import Mode
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import describes_cores, map_network
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.serving.streams import End

NOTE = "estimate from counted events and published coefficients, not a measurement"
EVENTS = ("synaptic_operations", "spikes", "neuron_updates", "active_neuron_updates")


class Usage:
    """Counts and prices answers of one network; ``profile`` None: prices nothing.

    The network is placed on the target's cores once, as on a chip; each answer is priced with its
    own counts and traffic: its prompt as ``pipelined``, its completion as ``fall-through``.
    """

    def __init__(self, network: LanguageModel, profile: Profile | None) -> None:
        self._network = network
        self._profile = profile
        self._mapping = None
        if profile is not None:
            if profile.method == "structure-only":
                raise InputError(
                    f"the profile {profile.name} holds no energies, so nothing can be priced.",
                    advice="`spikegpt-neuro profiles` lists those that do; --profile none prices "
                    "nothing.",
                )
            if describes_cores(profile):
                self._mapping = map_network(network, profile)

    def of(self, ends: Sequence[End], prompt_tokens: int) -> dict[str, Any]:
        """``prompt_tokens``: each prompt once, however many choices read it. Events and joules:
        sums over all choices, each of which read its own."""
        completion_tokens = sum(end.completion.tokens for end in ends)
        prompts = [end.prompt.named() for end in ends]
        completions = [end.completion.named() for end in ends]
        found: dict[str, Any] = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "events": self._events([*prompts, *completions]),
        }
        if self._profile is not None:
            found["energy"] = self._energy(prompts, completions)
        return found

    def _events(self, counted: Sequence[Counters]) -> dict[str, int]:
        found = dict.fromkeys(EVENTS, 0)
        for counters in counted:
            if counters.tokens == 0:
                continue
            for layer in activities(self._network, counters):
                found["synaptic_operations"] += layer.synaptic_operations
                found["spikes"] += layer.output_events if layer.fires else 0
                found["neuron_updates"] += layer.active_updates + layer.idle_updates
                found["active_neuron_updates"] += layer.active_updates
        return found

    def _energy(
        self, prompts: Sequence[Counters], completions: Sequence[Counters]
    ) -> dict[str, Any]:
        assert self._profile is not None
        prompt = self._joules(prompts, "pipelined")
        completion = self._joules(completions, "fall-through")
        low, value, high = (sum(pair) for pair in zip(prompt, completion, strict=True))
        return {
            "kind": "estimate",
            "note": NOTE,
            "profile": self._profile.name,
            "joules": value,
            "joules_low": low,
            "joules_high": high,
            "prompt_joules": prompt[1],
            "completion_joules": completion[1],
        }

    def _joules(self, counted: Sequence[Counters], mode: Mode) -> tuple[float, float, float]:
        """Low, value and high of sequences."""
        assert self._profile is not None
        low = value = high = 0.0
        for counters in counted:
            if counters.tokens == 0:
                continue
            mapping = None if self._mapping is None else self._mapping.under(counters)
            report = build_report(
                self._network, counters, self._profile, mode=mode, mapping=mapping
            )
            energy = report.energy_of(counters.tokens)
            assert energy is not None
            low, value, high = low + energy.low, value + energy.value, high + energy.high
        return low, value, high
