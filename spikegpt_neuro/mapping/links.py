"""Relief of the busiest links of a chip's mesh: cores trade places until traffic spreads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping.placement import Int64Array, Placement, at_slots, chips_of, edges_among
from spikegpt_neuro.mapping.traffic import Traffic

FloatArray = npt.NDArray[np.float64]

_TRADES = 2_000
"""Trades of places that are tried on a chip."""
_UNITS = 1 << 16
"""Parts of a packet that loads are counted in: sums of whole numbers are the same in any order, so
that every processor places alike."""


def relieve_links(
    traffic: Traffic, placement: Placement, profile: Profile, enough: float
) -> Placement:
    """The same cores on the same chips, in places that leave less on the busiest link.

    On each chip, until no link carries more than ``enough`` packets a token: a core whose packets
    cross the busiest link trades places with another, drawn from a fixed seed, where that lowers
    the sum of the fourth powers of all links' packets, or with nothing to win the trade is undone.
    The busiest link never carries more than before.
    """
    if profile.limit("mesh_width") is None:
        return placement
    slot = placement.slot.copy()
    for members in chips_of(placement):
        source, target, packets = edges_among(traffic, members)
        if source.size:
            traded = _Mesh(source, target, packets, slot[members], profile).relieved(enough)
            slot[members] = traded
    return at_slots(placement.chip, slot, profile)


@dataclass(frozen=True)
class _Load:
    """Parts of packets over every link, and what is to become less."""

    links: FloatArray
    cost: float

    @property
    def busiest(self) -> int:
        """Number of the link."""
        return int(self.links.argmax())


class _Mesh:
    """Cores of one chip at routers; packets run along x, then along y."""

    def __init__(
        self, source: Int64Array, target: Int64Array, packets: FloatArray, slot: Int64Array,
        profile: Profile,
    ) -> None:  # fmt: skip
        place = at_slots(np.zeros_like(slot), slot, profile)
        self._slot = slot.copy()
        self._width, height = int(place.x.max()) + 1, int(place.y.max()) + 1
        self._routers = self._width * height
        self._router = place.y * self._width + place.x
        self._source, self._target = source, target
        self._packets = np.rint(packets * _UNITS)
        self._routes = self._all_routes()

    def _all_routes(self) -> csr_array:
        """[links, pairs of routers]: 1 where packets of the pair cross the link."""
        rows, columns = [], []
        for a in range(self._routers):
            for b in range(self._routers):
                for link in self._route(a, b):
                    rows.append(link)
                    columns.append(a * self._routers + b)
        shape = (4 * self._routers, self._routers**2)
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)

    def _route(self, a: int, b: int) -> list[int]:
        """Links between two routers: one leaves each router in each of four directions."""
        (y, x), (last, column) = divmod(a, self._width), divmod(b, self._width)
        found = []
        while x != column:
            found.append((0 if column > x else 1) * self._routers + y * self._width + x)
            x += 1 if column > x else -1
        while y != last:
            found.append((2 if last > y else 3) * self._routers + y * self._width + x)
            y += 1 if last > y else -1
        return found

    def _pairs(self) -> Int64Array:
        return self._router[self._source] * self._routers + self._router[self._target]

    def _load(self) -> _Load:
        sent = np.bincount(self._pairs(), self._packets, self._routers**2)
        links = self._routes @ sent
        squares = links * links
        return _Load(links, math.fsum((squares * squares).tolist()))

    def _crossing(self, link: int) -> Int64Array:
        """Cores whose packets cross a link, or come to them over it."""
        across = np.zeros(self._routers**2, bool)
        begin, end = self._routes.indptr[link : link + 2]
        across[self._routes.indices[begin:end]] = True
        edges = across[self._pairs()]
        return np.unique(np.concatenate((self._source[edges], self._target[edges])))

    def relieved(self, enough: float) -> Int64Array:
        """The cores' slots after the trades that were worth it."""
        choose = np.random.default_rng(0)
        load = self._load()
        best, slot = float(load.links.max()), self._slot.copy()
        crossing = self._crossing(load.busiest)
        for _ in range(_TRADES):
            if load.links.max() <= enough * _UNITS:
                break
            one, other = int(choose.choice(crossing)), int(choose.integers(self._slot.size))
            if self._router[one] == self._router[other]:
                continue
            self._trade(one, other)
            now = self._load()
            if now.cost >= load.cost:
                self._trade(one, other)
                continue
            load, crossing = now, self._crossing(now.busiest)
            if load.links.max() < best:
                best, slot = float(load.links.max()), self._slot.copy()
        return slot

    def _trade(self, one: int, other: int) -> None:
        pair = [one, other]
        self._slot[pair] = self._slot[pair[::-1]]
        self._router[pair] = self._router[pair[::-1]]
