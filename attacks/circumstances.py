"""What must not matter, by name; the differences that are known, by rule; and what is in effect.

A circumstance is a change of the environment of commands. Those of processors have LLVM compile for
the one named, and let numpy, its OpenBLAS, PyTorch, oneDNN, MKL and glibc each choose what they
have for another. ``in_effect`` asks them in a process of that environment: where a name is not
known any more, or the machine is no better than the one named, a row shows nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

NO_AVX512 = ",".join(
    f"-avx512{part}"
    for part in ("f", "bw", "cd", "dq", "vl", "vnni", "ifma", "vbmi", "vbmi2", "bitalg", "bf16")
)
HWCAPS = "glibc.cpu.hwcaps"
CIRCUMSTANCES: dict[str, dict[str, str]] = {
    "as it is": {},
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "hash seed random": {"PYTHONHASHSEED": "random"},
    "2 threads": {"THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    "another locale and time zone": {"LC_ALL": "C", "TZ": "Asia/Kathmandu"},
    "kernels for a generic processor": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "kernels for Haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "kernels without AVX-512": {"NUMBA_CPU_FEATURES": NO_AVX512},
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR"},
    "numpy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3,X86_V4,AVX512_ICL,AVX512_SPR"},
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS for Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "PyTorch for AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2",
    },
    "PyTorch for SSE": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
    },
    "glibc without AVX-512": {"GLIBC_TUNABLES": f"{HWCAPS}=-AVX512F,-AVX512VL,-AVX512BW"},
    "glibc without FMA": {"GLIBC_TUNABLES": f"{HWCAPS}=-FMA,-AVX512F"},
    "glibc without AVX2 and FMA": {
        "GLIBC_TUNABLES": f"{HWCAPS}=-AVX2,-FMA,-AVX512F,-AVX512VL,-AVX512BW"
    },
}  # fmt: skip
"""By name: changes of the environment; THREADS is the commands' ``--threads``."""
OLDEST = "all of them for a processor of 2008"
AT_ONCE = "seed, threads, locale and time zone at once"
_MERGED = {
    AT_ONCE: ("hash seed 1", "2 threads", "another locale and time zone"),
    OLDEST: (
        "kernels for a generic processor", "numpy without AVX2", "OpenBLAS for Prescott",
        "PyTorch for SSE", "glibc without AVX2 and FMA",
    ),
}  # fmt: skip
CIRCUMSTANCES |= {
    merged: {key: value for name in names for key, value in CIRCUMSTANCES[name].items()}
    for merged, names in _MERGED.items()
}
SUITE = ("as it is", AT_ONCE)
"""What the test suite runs: no kernel is compiled anew."""
PROCESSORS = tuple(name for name in CIRCUMSTANCES if name.startswith(
    ("kernels ", "numpy ", "OpenBLAS ", "PyTorch ", "glibc ", OLDEST)))  # fmt: skip
CLEARED = (
    *{key for circumstance in CIRCUMSTANCES.values() for key in circumstance}, "OPENBLAS_L2_SIZE",
)  # fmt: skip
"""Not taken from the environment around: a machine that sets one already would compare nothing."""


@dataclass(frozen=True)
class Known:
    """Files (patterns) that may differ under the circumstances (patterns) named, and why."""

    circumstances: tuple[str, ...]
    files: tuple[str, ...]
    why: str


EXPORTED = ("m.net", "m4.net", "export.out", "export-4.out")
KNOWN = (
    Known(
        ("PyTorch for *", OLDEST), EXPORTED,
        "an export runs the float model on the calibration text, whose exponentials and float32 "
        "sums have another last bit in PyTorch's code for another processor",
    ),
    Known(
        ("OpenBLAS for *",), ("m4.net", "export-4.out"),
        "rounding to fewer than 8 bits inverts and factorises in OpenBLAS",
    ),
    Known(
        ("Python 3.10.*",), ("*.npz",),
        "zipfile writes another version number into the headers; the arrays are the same",
    ),
)  # fmt: skip
"""The only differences that are no fault. What reads an exported network is never among them."""


def known(circumstance: str, differing: Sequence[str]) -> list[str]:
    """Those of the differing files that a rule of ``KNOWN`` names."""
    patterns = [
        pattern
        for rule in KNOWN
        if any(fnmatchcase(circumstance, pattern) for pattern in rule.circumstances)
        for pattern in rule.files
    ]
    return [file for file in differing if any(fnmatchcase(file, one) for one in patterns)]


def environment(circumstance: Mapping[str, str]) -> dict[str, str]:
    """That of a command under a circumstance, THREADS included."""
    kept = {key: value for key, value in os.environ.items() if key not in CLEARED}
    return {**kept, "OMP_NUM_THREADS": "1", "THREADS": "1", **circumstance}


_ASK = """\
import json
import llvmlite.binding as llvm
import numba
import numpy
import threadpoolctl
from numba.core.registry import cpu_target
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

machine = cpu_target.target_context.codegen()._tm_features
found = {
    "kernels": numba.config.CPU_NAME or llvm.get_host_cpu_name(),
    "kernels_with_avx512": "+avx512f" in machine,
    "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
    "openblas": [one["architecture"] for one in threadpoolctl.threadpool_info()
                 if one["internal_api"] == "openblas"],
}
try:
    import torch
    found["pytorch"] = torch.backends.cpu.get_cpu_capability()
except ImportError:
    found["pytorch"] = ""
print(json.dumps(found))
"""
_LOADER = "/lib64/ld-linux-x86-64.so.2"


def in_effect(python: str, circumstance: Mapping[str, str]) -> dict[str, object]:
    """What each library says it chose: by library; of glibc, a digest of its active features."""
    around = environment(circumstance)
    told = subprocess.run([python, "-c", _ASK], env=around, capture_output=True, check=True)
    found: dict[str, object] = json.loads(told.stdout)
    found["glibc"] = ""
    if platform.libc_ver()[0] == "glibc" and os.path.exists(_LOADER):
        said = subprocess.run(
            [_LOADER, "--list-diagnostics"], env=around, capture_output=True, text=True, check=True
        )
        active = [line for line in said.stdout.splitlines() if ".active[" in line]
        found["glibc"] = hashlib.sha256("\n".join(active).encode()).hexdigest()[:8]
    return found
