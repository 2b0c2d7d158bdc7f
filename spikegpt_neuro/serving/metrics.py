"""Figures of a server in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro.serving.engine import Load
from spikegpt_neuro.serving.sessions import Sessions

_PREFIX = "spikegpt_neuro_"


def prometheus(load: Load, sessions: Sessions, statuses: Mapping[int, int]) -> str:
    """The page a Prometheus server reads."""
    figures = (
        ("streams", "gauge", "Places for streams.", load.streams),
        ("streams_active", "gauge", "Streams that are running.", load.active),
        ("streams_waiting", "gauge", "Streams that wait for a place.", load.waiting),
        ("streams_finished_total", "counter", "Streams that came to their end.", load.finished),
        ("streams_abandoned_total", "counter", "Streams whose client left.", load.abandoned),
        ("requests_refused_total", "counter", "Requests refused for a full queue.", load.refused),
        ("prompt_tokens_total", "counter", "Tokens of prompts read.", load.prompt_tokens),
        ("completion_tokens_total", "counter", "Tokens generated.", load.completion_tokens),
        ("passes_total", "counter", "Passes through the weights.", load.passes),
        ("sessions", "gauge", "Sessions kept.", len(sessions)),
        ("sessions_dropped_total", "counter", "Sessions dropped.", sessions.evictions),
    )
    lines = []
    for name, kind, text, value in figures:
        lines += [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"]
        lines.append(f"{_PREFIX}{name} {value}")
    name = f"{_PREFIX}responses_total"
    lines += [f"# HELP {name} Answers by HTTP status.", f"# TYPE {name} counter"]
    lines += [f'{name}{{status="{status}"}} {n}' for status, n in sorted(statuses.items())]
    return "\n".join(lines) + "\n"
