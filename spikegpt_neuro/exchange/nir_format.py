"""What export and import agree on: node names, the time step, and what metadata is called."""

from __future__ import annotations

import importlib
from typing import Any

from spikegpt_neuro.errors import Unavailable

TIME_STEP = 1e-4
"""Seconds a time step; the value snnTorch assumes when it reads a NIR graph."""
KEY = "spikegpt_neuro"
"""Metadata key of our JSON: a layer's schema, or the network's description."""
ARRAY = "spikegpt_neuro."
"""Prefix of the metadata keys that hold a layer's arrays."""
UNIT = 4096
"""Decays are in 1/4096: a time constant is ``TIME_STEP * 4096 / decay``."""


def import_package() -> Any:
    """The ``nir`` package. Raises ``Unavailable``."""
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise Unavailable(
            "the package nir is not installed.",
            ["import nir"],
            'Run: pip install "spikegpt-neuro[nir]".',
        ) from error


def node_name(layer: str) -> str:
    """Name of a layer's node: readers make Python attributes of names, so no dots."""
    return layer.replace(".", "__")


def layer_name(node: str) -> str:
    """Inverse of ``node_name``."""
    return node.replace("__", ".")
