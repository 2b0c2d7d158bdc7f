"""Write ``expected.json`` anew, after a change of a kind was reviewed: python write_expected.py."""

from __future__ import annotations

import json

from kind_checks.checks import EXPECTED, facts

from spikegpt_neuro.network import LAYER_KINDS

if __name__ == "__main__":
    kinds = []
    for name, kind in LAYER_KINDS.items():
        lines = [
            f"  {json.dumps(fact)}: {json.dumps(value)}" for fact, value in facts(kind).items()
        ]
        kinds.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    EXPECTED.write_text("{\n" + ",\n".join(kinds) + "\n}\n", encoding="utf-8")
