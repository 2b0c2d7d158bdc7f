"""The exceptions this package raises for its users, and the exit codes they become.

One small tree, so that a caller can catch one kind of failure:

    SpikeGPTNeuroError          base; exit code 1
    ├── InputError              the user's input is wrong; exit code 2
    ├── CheckFailed             a check ran and did not hold (verify, design rules); exit code 1
    ├── RunFailed               a run broke off (a process model raised or died); exit code 1
    ├── IncompleteKind          a kind of layer was not told to something that meets it; exit code 1
    └── Unavailable             something is missing on this machine; exit code 3

Every message says what was found, where, what is allowed and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class SpikeGPTNeuroError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class InputError(SpikeGPTNeuroError):
    """The user's input (a file, a text, an option) cannot be used.

    ``problems`` lists everything one check found, so that the user mends all of it at once.
    """

    exit_code = 2

    def __init__(self, summary: str, problems: Sequence[str] = (), advice: str = "") -> None:
        self.summary = summary
        self.problems = tuple(problems)
        self.advice = advice
        lines = [summary, *(f"  - {problem}" for problem in self.problems)]
        if advice:
            lines.append(advice)
        super().__init__("\n".join(lines))


class CheckFailed(SpikeGPTNeuroError):
    """A check the user asked for ran to its end and did not hold."""

    exit_code = 1


class RunFailed(SpikeGPTNeuroError):
    """A backend's run broke off: a process model raised, a process died, a shape was wrong."""

    exit_code = 1


class IncompleteKind(SpikeGPTNeuroError):
    """A kind of layer lacks what a consumer needs to know of it (docs/adding-a-kind.md).

    Nothing is computed, priced or written in its place.
    """

    exit_code = 1

    def __init__(self, kind: str, consumer: str, what: str = "", *, where: str = "") -> None:
        self.kind = kind
        self.consumer = consumer
        super().__init__(
            f"{where + ': ' if where else ''}the kind of layer {kind!r} is not known to "
            f"{consumer}{': ' + what if what else ''}. docs/adding-a-kind.md lists what a kind is."
        )


class Unavailable(SpikeGPTNeuroError):
    """Something this command needs is missing on this machine.

    ``probed`` says what was looked for, ``advice`` what the user can do.
    """

    exit_code = 3

    def __init__(self, summary: str, probed: Sequence[str] = (), advice: str = "") -> None:
        self.summary = summary
        self.probed = tuple(probed)
        self.advice = advice
        lines = [summary, *(f"  probed: {line}" for line in self.probed)]
        if advice:
            lines.append(advice)
        super().__init__("\n".join(lines))


_NO_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "can't start new thread",
    "failed to map segment", "unable to allocate", "std::bad_alloc", "memory allocation failed",
)  # fmt: skip
"""How libraries say that memory is short, in exceptions of any type."""
NO_MEMORY = "There is not enough memory for this."


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception, of whatever type, says that memory is short."""
    text = f"{error}".lower()
    return isinstance(error, MemoryError) or any(part in text for part in _NO_MEMORY)
