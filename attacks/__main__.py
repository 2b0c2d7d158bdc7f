"""``python -m attacks``: of the readers, ``attacks.fuzz``; a first word chooses another kind."""

import importlib
import sys

KINDS = {
    "faults": "attacks.faults.run",
    "soak": "attacks.soak",
    "served": "attacks.served",
    "guided": "attacks.guided",
    "determinism": "attacks.determinism",
    "lines": "attacks.lines",
    "mutants": "attacks.mutants",
    "page": "attacks.page",
}

name, *arguments = sys.argv[1:] or [""]
if name in KINDS:
    raise SystemExit(importlib.import_module(KINDS[name]).main(arguments))
raise SystemExit(importlib.import_module("attacks.fuzz").main())
