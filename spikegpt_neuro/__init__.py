"""Turn a trained SpikeGPT language model into an integer network for neuromorphic hardware.

Importing the package imports nothing heavy; take what you need from its parts:

- ``spikegpt_neuro.converters``         checkpoints read, calibrated, quantised, exported
- ``spikegpt_neuro.network``            the integer network and its file
- ``spikegpt_neuro.backends``           ways to execute it: emulator, Lava, Loihi 2
- ``spikegpt_neuro.energy``, ``spikegpt_neuro.mapping``, ``spikegpt_neuro.hardware_profiles``
- ``spikegpt_neuro.model``, ``spikegpt_neuro.training``   the float model in PyTorch
"""

from spikegpt_neuro.version import __version__

__all__ = ["__version__"]
