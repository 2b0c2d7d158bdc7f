"""A classifier's decisions in words, for the terminal and the page alike."""

from __future__ import annotations

from spikegpt_neuro.energy.decisions import Decisions


def decisions_title(decisions: Decisions) -> str:
    """What the figures of a decision are of."""
    title = f"A decision (estimates): {decisions.texts:,} texts of {decisions.tokens:.1f} tokens"
    if decisions.accuracy is not None:
        title += f", {decisions.accuracy:.2%} right"
    if decisions.early_tokens is not None:
        title += (
            f"; early, at confidence {decisions.confidence}: {decisions.early_tokens:.1f} tokens"
        )
        if decisions.early_accuracy is not None:
            title += f", {decisions.early_accuracy:.2%} right"
    return title
