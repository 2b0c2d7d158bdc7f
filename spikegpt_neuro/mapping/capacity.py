"""Targets whose cores are not described: does the network fit one chip at all?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.demand import capacity_needed
from spikegpt_neuro.mapping.rules import Violation, check_rules, unchecked_rules
from spikegpt_neuro.network import Network

_LIMITS: Final = (
    ("neurons", "neurons_per_chip"),
    ("weights", "synapses_per_chip"),
    ("bytes", "memory_per_chip"),
)


@dataclass(frozen=True)
class Need:
    """An amount the network needs and a chip's limit; None where none was published."""

    what: str
    needed: int
    limit: int | None

    @property
    def chips(self) -> int | None:
        """Chips that this amount alone would fill."""
        return None if self.limit is None else -(-self.needed // self.limit)


@dataclass(frozen=True)
class Capacity:
    """What a network needs of a chip, and the design rules it breaks there."""

    profile: Profile
    needs: tuple[Need, ...]
    violations: tuple[Violation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "profile": self.profile.name,
            "needs": [
                {"what": n.what, "needed": n.needed, "limit": n.limit, "chips": n.chips}
                for n in self.needs
            ],
            "violations": [v.to_dict() for v in self.violations],
            "rules_not_checked": list(unchecked_rules(self.profile)),
        }


def describes_cores(profile: Profile) -> bool:
    """True where a network can be placed core by core on the target."""
    return profile.limit("cores_per_chip") is not None


def check_capacity(
    network: Network, profile: Profile, counters: Counters | None = None
) -> Capacity:
    """Compare what the network needs with one chip, and check the design rules."""
    needed = capacity_needed(network)
    needs = tuple(Need(what, needed[what], profile.limit(limit)) for what, limit in _LIMITS)
    return Capacity(profile, needs, check_rules(network, profile, "middle", (), counters))
