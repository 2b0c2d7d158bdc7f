"""Makes the helpers beside the tests importable: `tests` is a package of Lava's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
