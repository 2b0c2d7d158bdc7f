"""Mapping a network onto neuro cores and chips: partition, placement, traffic, design rules."""

from spikegpt_neuro.mapping.capacity import Capacity, check_capacity, describes_cores
from spikegpt_neuro.mapping.cores import PACKINGS
from spikegpt_neuro.mapping.mapping import Mapping, Size, map_network, sizes
from spikegpt_neuro.mapping.rules import RULES, Violation, check_rules, unchecked_rules

__all__ = [
    "PACKINGS", "RULES", "Capacity", "Mapping", "Size", "Violation", "check_capacity",
    "check_rules", "describes_cores", "map_network", "sizes", "unchecked_rules",
]  # fmt: skip
