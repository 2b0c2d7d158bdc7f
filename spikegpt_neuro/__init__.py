"""Turn a trained SpikeGPT language model into an integer network for neuromorphic hardware.

    import spikegpt_neuro as sn

    sn.export("model.pth", "model.net", vocabulary="vocab.json", calibration="sample.txt")
    network = sn.load("model.net")
    sn.generate(network, "In the beginning", tokens=100)
    sn.energy(network, open("text.txt").read(), profiles=["loihi2"])

Importing the package imports nothing heavy: functions (``api.py``) are loaded when first used.
Everything else is in its parts: ``converters``, ``network``, ``backends``, ``energy``, ``mapping``,
``hardware_profiles``, ``model``, ``training``.
"""

TYPE_CHECKING = False  # typing's own, which the program's start need not wait for (cli/main.py)
if TYPE_CHECKING:
    from typing import Any

    from spikegpt_neuro.api import (
        classify,
        energy,
        export,
        fit,
        generate,
        load,
        map,
        open,
        score,
        trace,
        verify,
    )
    from spikegpt_neuro.version import __version__

__all__ = [
    "__version__", "classify", "energy", "export", "fit", "generate", "load", "map", "open",
    "score", "trace", "verify",
]  # fmt: skip


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        from spikegpt_neuro.version import __version__

        return __version__
    if name in __all__:
        from spikegpt_neuro import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
