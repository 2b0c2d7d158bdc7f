"""``python -m attacks``: see ``attacks.fuzz``; ``python -m attacks faults``: see there."""

import sys

if sys.argv[1:2] == ["faults"]:
    from attacks.faults.run import main as faults

    raise SystemExit(faults(sys.argv[2:]))

from attacks.fuzz import main

raise SystemExit(main())
