"""``python -m attacks guided FORMAT ...``: mutations that coverage leads (atheris, libFuzzer).

The readers are those of ``attacks.formats``; this package's modules are instrumented. Half of the
inputs are libFuzzer's own, half change the meaning as ``attacks.mutations`` does. Anything but a
reading or an error of this project stops the run and is kept; so do ``SECONDS`` and ``MEGABYTES``
for one input. ``--corpus`` keeps the inputs that reached new code; ``--seeds`` only writes the
first ones there, from the same generator.
Needs ``pip install 'spikegpt-neuro[fuzz]'``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from attacks.mutations import change_bytes, change_hdf5

SECONDS, MEGABYTES = 60, 4096
SEEDS = 16
TRACED = 40_000
"""Bytes of a HDF5 file up to which it is parsed twice: the code is the same for larger ones."""


def compiled() -> list[str]:
    """Modules that are not instrumented: numba compiles what is in them, and no reader is there."""
    package = Path(__file__).resolve().parents[1] / "spikegpt_neuro"
    return [
        ".".join(["spikegpt_neuro", *path.relative_to(package).with_suffix("").parts])
        for name in ("arithmetic", "backends", "model", "energy")
        for path in (package / name).rglob("*.py")
    ]


def write_seeds(name: str, folder: Path) -> None:
    """The good file, and some of both kinds of mutations of it."""
    from attacks.formats import FORMATS

    folder.mkdir(parents=True, exist_ok=True)
    form = FORMATS[name]
    form.make(folder / "good")
    good = (folder / "good").read_bytes()
    for number in range(SEEDS):
        rng = np.random.default_rng([7, number])
        content = (form.change if number % 2 else change_bytes)(good, rng)
        (folder / f"seed-{number}").write_bytes(content)


def attack(name: str, folder: Path, options: list[str]) -> None:
    """In the child, with an empty folder: never returns; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["spikegpt_neuro"], exclude=compiled()):
        from attacks import hdf5_parser
        from attacks.formats import FORMATS
        from spikegpt_neuro.errors import SpikeGPTNeuroError
        from spikegpt_neuro.readers import hdf5, hdf5_child

    def describe(path: Path, what: str, stream: BinaryIO, result: BinaryIO, output: int) -> None:
        """As it is done; then here again, where coverage sees the child's code, if that is safe."""
        hdf5_parser.describe(path, what, stream, result, output)
        whole.add(hashlib.sha256(path.read_bytes()).digest())
        if os.fstat(stream.fileno()).st_size <= TRACED:
            stream.seek(0)
            hdf5_child.describe(stream, io.BytesIO(), output)

    hdf5._describe = describe
    whole: set[bytes] = set()
    form = FORMATS[name]
    path, good = folder / "input", (Path(options[-1]) / "good").read_bytes()
    with atheris.instrument_imports(include=["spikegpt_neuro"], exclude=compiled()):
        form.make(path)  # and what must lie beside it
        path.write_bytes(good)
        form.read(path)  # imports what reading imports

    def is_whole(content: bytes) -> bool:
        """Whether the child described it."""
        return hashlib.sha256(content).digest() in whole

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(SpikeGPTNeuroError):
            form.read(path)

    def mutate(content: bytes, largest: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5:
            # libhdf5 changes it here: what broke the child would break, or stop, this process
            safe = good if form.change is change_hdf5 and not is_whole(content) else content
            try:
                return bytes(form.change(bytes(safe), rng))[:largest]
            except Exception:  # the input is not of the format any more
                pass
        return bytes(atheris.Mutate(content, largest))

    atheris.Setup([sys.argv[0], *options], read, custom_mutator=mutate)
    atheris.Fuzz()


def run(name: str, seconds: int, corpus: Path, keep: Path) -> dict[str, Any]:
    """A bounded run on one format: libFuzzer's counts, and what stopped it before its time."""
    write_seeds(name, corpus)
    keep.mkdir(parents=True, exist_ok=True)
    began, spent = time.monotonic(), sum(os.times()[2:4])
    options = [
        f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}",
        "-print_final_stats=1", f"-artifact_prefix={keep}/{name}-", str(corpus),
    ]  # fmt: skip
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        ended = subprocess.run(
            [sys.executable, "-m", "attacks.guided", name, folder, *options],
            capture_output=True, text=True, errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    said = ended.stderr
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    coverage = re.findall(r"cov: (\d+)", said)
    slowest = re.search(r"stat::slowest_unit_time_sec:\s*(\d+)", said)
    return {
        "format": name, "seconds": round(time.monotonic() - began),
        "processor_seconds": round(sum(os.times()[2:4]) - spent),
        "inputs": int(executed.group(1)) if executed else 0,
        "first_coverage": int(coverage[0]) if coverage else 0,
        "coverage": int(coverage[-1]) if coverage else 0,
        "corpus": sum(1 for _ in corpus.iterdir()),
        "slowest_seconds": int(slowest.group(1)) if slowest else 0,
        "stopped": "" if ended.returncode == 0 else said[-3000:],
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 if an input stopped a run."""
    from attacks.formats import FORMATS

    parser = argparse.ArgumentParser(prog="python -m attacks guided", description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--seconds", type=int, default=300, help="for each format")
    parser.add_argument("--corpus", type=Path, help="folder of inputs that reached new code")
    parser.add_argument("--keep", type=Path, help="folder for inputs that stopped a run")
    parser.add_argument("--seeds", action="store_true", help="only write the first inputs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder) / "corpus"
        for name in options.formats or FORMATS:
            if options.seeds:
                write_seeds(name, corpus / name)
                continue
            row = run(name, options.seconds, corpus / name, options.keep or Path(folder) / "keep")
            print(
                f"{name}: {row['inputs']} inputs, coverage {row['first_coverage']} to "
                f"{row['coverage']}; {row['stopped'] or 'nothing stopped it'}", flush=True,
            )  # fmt: skip
            rows.append(row)
            if options.json is not None:
                options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return 1 if any(row["stopped"] or not row["inputs"] for row in rows) else 0


if __name__ == "__main__":  # the child
    attack(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
