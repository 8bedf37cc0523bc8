"""``python -m launcher.supervise``: follow all live runs of this home, in this process."""

from __future__ import annotations

import argparse
import sys

from launcher.home import Home
from launcher.supervise.background import supervise


def main() -> int:
    """Run as the background supervisor; 0 also when another one was faster."""
    argparse.ArgumentParser(prog="launcher.supervise", description=__doc__).parse_args()
    supervise(Home.open())
    return 0


if __name__ == "__main__":
    sys.exit(main())
