"""``python -m launcher.cli``: the same as ``launch``."""

import sys

from launcher.cli import main

sys.exit(main())
