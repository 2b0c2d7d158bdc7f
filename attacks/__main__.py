"""``python -m attacks``; see ``attacks.fuzz``."""

from attacks.fuzz import main

raise SystemExit(main())
