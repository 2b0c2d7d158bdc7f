"""Hardware targets: what their operations cost, what fits on them, and who says so."""

from spikegpt_neuro.hardware_profiles.loader import list_profiles, load_profile, parse_profile
from spikegpt_neuro.hardware_profiles.schema import Curve, Feature, Figure, Profile, System

__all__ = [
    "Curve", "Feature", "Figure", "Profile", "System", "list_profiles", "load_profile",
    "parse_profile",
]  # fmt: skip
