"""Numbers as people read them: four significant digits, engineering prefixes, shares."""

from __future__ import annotations

from typing import Final

from spikegpt_neuro.energy.timing import Timing
from spikegpt_neuro.hardware_profiles import Curve, Figure

_PREFIXES: Final = {
    -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T",
}  # fmt: skip


def engineering(value: float, unit: str) -> str:
    """``value`` with a prefix: ``engineering(3.2e-5, "J")`` is ``32 µJ``; zero has none.

    >>> engineering(3.2e-5, "J"), engineering(0.0, "J"), engineering(1234.0, "tokens/s")
    ('32 µJ', '0 J', '1.234 ktokens/s')
    """
    if value == 0:
        return f"0 {unit}"
    exponent = -15
    for candidate in _PREFIXES:
        if abs(value) >= 0.99995 * 10.0**candidate:
            exponent = candidate
    return f"{value / 10.0**exponent:.4g} {_PREFIXES[exponent]}{unit}"


def count(value: float) -> str:
    """A count a token: whole numbers with commas between thousands, fractions to one digit.

    >>> count(1628897.0), count(911.26)
    ('1,628,897', '911.3')
    """
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}"


def plural(number: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "chip"), plural(2, "chip")
    ('1 chip', '2 chips')
    """
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def share(value: float) -> str:
    """A share in per cent; a small one is not rounded to zero.

    >>> share(0.153), share(0.0), share(0.0002)
    ('15.3 %', '0.0 %', '<0.1 %')
    """
    if 0 < value < 0.0005:
        return "<0.1 %"
    return f"{100 * value:.1f} %"


def times_price(number: float, joules: float, *, power: bool) -> tuple[str, str]:
    """A count and the price of one; a time and watts where a power is paid over a time.

    >>> times_price(1200.0, 23.6e-12, power=False), times_price(9e-6, 0.257, power=True)
    (('1,200', '23.6 pJ'), ('9 µs', '257 mW'))
    """
    if power:
        return engineering(number, "s"), engineering(joules, "W")
    return count(number), engineering(joules, "J")


def points(curve: Curve) -> str:
    """The points of a curve, argument and value."""
    return ", ".join(f"{count(float(x))}: {float(y):g}" for x, y in curve.points)


def bottlenecks(timing: Timing) -> str:
    """What the steps of a token are bound by, with the share of its time."""
    return ", ".join(
        f"{name} {share(seconds / timing.value)}" for name, seconds in timing.bottlenecks.items()
    )


def extent(figure: Figure) -> str:
    """A figure of a profile with its range, where it has one, and unit."""
    value = f"{float(figure.value):g}"
    if figure.has_range:
        value += f" ({float(figure.low):g} .. {float(figure.high):g})"
    return f"{value} {figure.unit}"
