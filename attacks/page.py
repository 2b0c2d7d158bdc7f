"""``python -m attacks page``: write docs/robustness.md from attacks/results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attacks.circumstances import KNOWN, known
from attacks.faults.trial import OUTCOMES

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).resolve().parents[1] / "docs/robustness.md"

_BEGIN = """\
# Robustness: what was attacked, and what came of it

Written by `python -m attacks page` from the counts in `attacks/results/`, which the commands below
write with `--json`; not edited by hand. All attacks draw from recorded seeds. The test suite runs a
small count of each; these are the large ones, run once.
"""
_FAULTS = """\
## Faults at random moments of commands

A trial starts one command of `spikegpt-neuro` in a folder of its own, lets one fault happen (those
in time: at a moment drawn from the command's whole duration), and then checks: every output is the
earlier file or the whole new one; nothing temporary, no process, no shared memory stays behind; the
exit code and message are sane (no traceback); standard output is complete after exit code 0; no
input was changed; and the same work, done again or gone on with, ends in the same bytes as work
that was never disturbed. `serve` is asked for whole, streamed and continued texts meanwhile: every
answer must be an undisturbed server's or a refusal with its reason, and a session's file must stand
where the last answer left it, for the next server to go on from. *Completed*: exit code 0 and the
right result. *Failed*: an error told. *Ended*: by the signal sent. *Not begun*: by Ctrl-C while
Python itself started, before the program's first line: its traceback has no file of the program.
**Bad**: a check did not hold. Most trials are forked from a process with its modules loaded;
"fresh" ones attack the start of the interpreter, too.
"""
MENDED = "with all mends"
"""How the ``note`` of a result of ``attacks.faults`` begins whose trials count."""
SERVED = ("whole", "streamed", "session", "gone", "refused", "busy")
"""What clients of a server met, as ``attacks.served`` names it."""
_MENDED = """\
Found by these trials and mended, most with a test of their own (before that, none was noticed):

- full disks, a full or closed standard output, short memory: tracebacks; with `PYTHONUNBUFFERED` a
  cut result and exit code 0;
- Ctrl-C in the middle of a token: a saved state that was of no number of tokens; SIGTERM: no state,
  and temporary folders left;
- two writers of one file: on file systems without nameless files they shared one partial file; on
  others one took the other's;
- an output that is an input was overwritten: `train` wrote its log over a corpus named like its
  model, `simulate --trace` over its network; a device (`/dev/null`) was replaced by a file;
- a mapped network that is written into while it is used: other results, exit code 0; one that is
  cut: SIGBUS without a word;
- a kernel cache that cannot be written, or is full: compiled code was not used, the command ended;
- SIGTERM or Ctrl-C while Dask's workers start: a traceback beside the sentence, scratch files left;
- the log of a classifier that goes on was emptied before it was written again;
- a server without memory for a thread, or even for saying so: no reason, clients that waited for
  ever; without descriptors: a traceback a second;
- Ctrl-C while the program imports what it needs: a traceback; it takes the signal in its first line
  now, and ends by it;
- `verify` short of memory: it waited for ever for the process that made Lava's shared memory, whose
  blocks and socket stayed. That memory has no name now and no process, and a Lava process that is
  gone before it is built ends the run;
- workers without descriptors: Dask waited for ever; open files are counted before it starts, and a
  cluster that has no worker for two minutes is given up;
- Dask's folders and locks, and a checkpoint's exported network, after `kill -9`: they lie in one
  folder of the run, locked by it, which the next run removes when its owner is gone;
- tracebacks of Dask's workers at Ctrl-C, which the whole terminal gets: they are ended by the
  program instead;
- an error that standard error had no room for: Python's exit code 120 instead of the program's;
- `serve` from a mapped network that is written into: it answered on, with other texts and exit code
  0, until the end of this run of trials found it; it looks after every pass now and fails instead;
- a signal inside one of LLVM's callbacks was printed and lost; a server whose standard output is
  full ended with a task's traceback.

Of the five bad trials of seeds 31 to 36 two are tracebacks of multiprocessing's tracker, which are
told from the program's now; three led to the last two of these mends. The two of seed 51 are not
mended: without memory a worker of Dask printed a traceback beside the program's sentence, without
descriptors a verify did. No output was wrong, cut or missing, nothing hung and nothing was left.

Not prevented: a text or raster that changes before it was read is read as it then is. A process
killed between naming and renaming a file (two system calls) leaves a hidden `.partial` sibling,
which the next write of the file removes; what a killed run kept in its own folder of the temporary
ones stays until a run needs such a folder again. LLVM ends the process (SIGABRT) where a memory
limit leaves nothing for compiled code. A file size limit that cuts standard error itself leaves a
reason no room. multiprocessing's tracker can print a traceback beside the program's sentence where
memory is refused. Ctrl-C before the program's first line is told by Python ("not begun").
"""

_DIFFERENT = """\
Found by these runs and mended: exports to fewer than 8 bits depended on how many threads OpenBLAS
had (rounding now uses one, `converters/one_thread.py`); last digits of energy reports were others
from Python 3.12 on, whose `sum` of floats compensates (`math.fsum` now, on every Python), and with
other code of OpenBLAS, through one product of matrices in the traffic on a mesh.

A scale of an export is a range of the float model over the largest integer, and a multiplier that
lies next to a half becomes its neighbour; below 8 bits half-way weights go the other way, and error
compensation moves others of their row. So an export is the same bytes on one kind of processor and
one build of PyTorch; the network that it wrote, read anywhere, gives the same integers, files and
reports. Exchange networks, with their SHA-256, not recipes for them.

Training is not compared: its float sums have no one order.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| --- |" + " ---: |" * (len(head) - 1))
    lines += [
        "| " + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row) + " |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _read(pattern: str) -> list[Any]:
    paths = sorted(RESULTS.glob(pattern))
    if not paths:
        raise SystemExit(f"{RESULTS}/{pattern}: there is no such result; run its command first")
    return [json.loads(path.read_text("utf-8")) for path in paths]


def _command(text: str) -> str:
    return f"<!-- not run: takes minutes to hours -->\n\n```bash\n{text}\n```\n"


def faults() -> str:
    """All runs, and the trials of those with all mends (``note`` says so) by fault and command."""
    files = _read("faults*.json")
    by: dict[str, dict[str, Counter[str]]] = {"faults": {}, "commands": {}}
    for found in files:
        if not found["note"].startswith(MENDED):
            continue
        for kind, rows in by.items():
            for name, row in found[kind].items():
                rows.setdefault(name, Counter()).update(row)
    runs = [
        (found["note"], found["seed"], *(found[key] for key in ("trials", "fresh", "bad")))
        for found in files
    ]
    parts = [
        _FAULTS,
        table(("run", "seed", "trials", "fresh", "bad"), runs),
        f'By fault and by command, the runs "{MENDED}" alone; those before are not counted:\n',
        _command("python -m attacks faults --trials 1100 --seed 7 --json FILE"),
    ]
    for kind, rows in by.items():
        head = (kind[:-1], "trials", *OUTCOMES, "bad")
        listed = [
            (name, *(row[key] for key in ("trials", *OUTCOMES, "bad")))
            for name, row in sorted(rows.items())
        ]
        parts.append(table(head, listed))
    return "\n".join([*parts, _MENDED])


def inputs() -> str:
    """Mutated files: of ``attacks.fuzz`` and of ``attacks.guided``."""
    rows = [
        (row["format"], row["inputs"], row["refused"], row["read"], row["bad"])
        for found in _read("fuzz*.json")
        for row in found
    ]
    guided = [
        (row["format"], row["inputs"], row["first_coverage"], row["coverage"], row["seconds"],
         row.get("processor_seconds", "not known"), "yes" if row["stopped"] else "no")
        for found in _read("guided*.json")
        for row in found
    ]  # fmt: skip
    return "\n".join(
        [
            "## Damaged and hostile files\n\nHalf of the inputs have bytes changed, half their "
            "meaning with checksums true again. Bad: a traceback, a signal, over 10 seconds of the "
            "processor, or changed values under a checksum (docs/reading-files.md).\n",
            _command("python -m attacks network-1 resume --count 5000 --json FILE"),
            table(("format", "inputs", "refused", "read", "bad"), rows),
            "Led by coverage (atheris): the same readers, five minutes a format on a busy machine, "
            "of which they had the seconds of a processor that are named (those of HDF5's parser, "
            "a process of its own, not counted). Coverage is libFuzzer's count of edges of this "
            "project's modules, after the first inputs and at the end.\n",
            _command("python -m attacks guided --seconds 300 --json FILE"),
            table(
                (
                    "format",
                    "inputs",
                    "coverage at first",
                    "at the end",
                    "s",
                    "s of a processor",
                    "stopped",
                ),
                guided,
            ),
        ]
    )


def soak() -> str:
    """Long runs."""
    rows = [
        (found["network"], found["tokens"], round(found["tokens_per_second"]),
         found["grown_bytes"], f"{found['slices']}: {'equal' if found['slices_equal'] else 'NOT'}",
         f"{found['sessions']} x {found['tokens_each']}",
         found["different_mixed"] + found["different_in_threads"])
        for found in _read("soak*.json")
    ]  # fmt: skip
    head = (
        "network", "tokens", "tokens/s", "bytes grown", "slices by --state", "sessions x tokens",
        "sessions that differ",
    )  # fmt: skip
    return "\n".join(
        [
            "## Long runs and many sessions\n\nMemory is compared after a tenth of the tokens and "
            "at the end (the list of tokens itself not counted). The slices are processes of their "
            "own. Sessions of one mapped network generate in turn and in threads.\n",
            _command("python -m attacks soak NET --tokens 1000000 --sessions 32 --json FILE"),
            table(head, rows),
        ]
    )


def served() -> str:
    """Clients of a server."""
    rows = []
    for found in _read("served*.json"):
        outcomes = found["outcomes"]
        rows.append(
            (found["streams"], found["seconds"], *(outcomes.get(name, 0) for name in SERVED),
             found["compared_tokens"], found["wrong_count"], found["memory_grown_bytes"])
        )  # fmt: skip
    return "\n".join(
        [
            "## Many clients of one server\n\nClients ask at once for texts of all lengths, whole "
            "or streamed, go on in sessions, go away in the middle, and ask for what is refused. "
            "Each text and its counted synaptic operations are compared with a lone run's.\n",
            _command("python -m attacks served NET TEXT --streams 32 --minutes 60 --json FILE"),
            table(
                ("clients", "s", *SERVED, "tokens compared", "wrong", "bytes grown"), rows
            ),
        ]
    )  # fmt: skip


def determinism() -> str:
    """What must not matter, and whether it did."""
    files = _read("determinism*.json")
    rows = []
    for found in files:
        for name, differ in found["circumstances"].items():
            allowed = known(name, differ)
            others = [one for one in differ if one not in allowed]
            told = (", ".join(f"`{one}`" for one in part) or "none" for part in (others, allowed))
            rows.append((name + found.get("note", ""), len(found["digests"]), *told))
    effects = [
        (name, *(_told(row[key]) for key in ("kernels", "numpy", "openblas", "pytorch", "glibc")))
        for found in files
        for name, row in found.get("in_effect", {}).items()
    ]
    rules = [
        f"- {', '.join(f'`{file}`' for file in rule.files)}, under "
        f"{', '.join(f'`{name}`' for name in rule.circumstances)}: {rule.why}."
        for rule in KNOWN
    ]
    return "\n".join(
        [
            "## The same bytes\n\nEvery file and `--json` result (without measured seconds) of "
            "export to 8 and 4 bits, score, simulate, a chain of SLAYER's neurons, map and energy, "
            "by SHA-256, against the first row's. All read the networks that were exported first, "
            "so that a difference is seen where it arises.\n",
            _command("python -m attacks determinism --json FILE"),
            table(("circumstance", "compared", "different", "known to differ"), rows),
            "Only these may differ (`attacks/circumstances.py`); anything else is a fault, and the "
            "command ends with exit code 1:\n\n" + "\n".join(rules) + "\n",
            "What the libraries said that they had chosen under circumstances of processors (of "
            "glibc: a digest of the features it uses):\n",
            table(("circumstance", "kernels", "numpy", "OpenBLAS", "PyTorch", "glibc"), effects),
            _DIFFERENT,
        ]
    )


def _told(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else str(value)) or "none"


def mutants() -> str:
    """Whether the tests notice."""
    rows, told = [], []
    for found in _read("mutants*.json"):
        for area, row in sorted(found["areas"].items()):
            later = len(row.get("killed_later", []))
            rows.append(
                (f"{area}, {found['note']}", row["possible"], row["tried"], row["killed"],
                 f"{row['killed'] / row['tried']:.0%}", later, len(row["survivors"]),
                 f"{(row['killed'] + later) / row['tried']:.0%}")
            )  # fmt: skip
            told += [f"- {area}: {why}" for why in row.get("explained", [])]
    head = (
        "area", "mutants", "tried", "killed at first", "score", "by new tests", "left", "score now",
    )  # fmt: skip
    text = [
        "## Would the tests notice?\n\nRandom samples of cosmic-ray's mutants (one operator, "
        "number, comparison or condition changed). The first was of three modules an area, on the "
        "tests of those modules; the second of all modules of an area, each mutant on the quickest "
        "of the area's tests that execute the changed statement (coverage.py), without graphs of "
        "Lava's. Not the whole suite: a lower bound.\n",
        _command("python -m attacks mutants --count 30 --seed 1 --json FILE"),
        table(head, rows),
    ]
    if told:
        text.append("Survivors, and what was made of them:\n\n" + "\n".join(told) + "\n")
    return "\n".join(text)


def lines() -> str:
    """What tests reach."""
    measured: dict[str, dict[str, int]] = {}
    for found in _read("lines*.json"):
        measured |= {name: found["packages"][name] for name in found["tests"]}
    rows = [
        (package, row["lines"], row["reached"], f"{row['reached'] / row['lines']:.0%}",
         row["left_out"])
        for package, row in sorted(measured.items())
    ]  # fmt: skip
    folders = ", ".join(f"`tests/{name}`" for name in sorted(measured))
    return "\n".join(
        [
            "## Lines that tests reach\n\nBy coverage.py, of the tests in "
            f"{folders} alone: the whole suite reaches more. Bodies of compiled kernels are "
            "executed as machine code and cannot be traced; they are left out here, and held "
            "against equations written a second time by their tests.\n",
            _command("python -m attacks lines --json FILE"),
            table(("package", "lines", "reached", "share", "of kernels, left out"), rows),
        ]
    )


def page() -> str:
    """The whole page."""
    return "\n".join(
        [_BEGIN, faults(), inputs(), soak(), served(), determinism(), mutants(), lines()]
    )


def main(arguments: list[str]) -> int:
    """Entry point."""
    PAGE.write_text(page(), "utf-8")
    return 0
