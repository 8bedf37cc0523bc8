"""``python -m provisioning.local release ID --home HOME``: how a claim is ended by its own watchdog."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.local.provider import LOCATION, LocalProvider
from provisioning.models import InstanceRef
from provisioning.provider import ProviderContext

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Release one claim; its processes end, the calling one last."""
    parser = argparse.ArgumentParser(prog="python -m provisioning.local")
    parser.add_argument("action", choices=["release"])
    parser.add_argument("id")
    parser.add_argument("--home", type=Path, required=True, help="the LAUNCH_HOME that holds the claim")
    arguments = parser.parse_args(argv)
    # Started by the watchdog inside the tmux session that it is about to end: its hang-up must not end us first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    provider = LocalProvider(ProviderContext(home=arguments.home, environ=os.environ))
    provider.terminate(InstanceRef(LocalProvider.name, LOCATION, arguments.id))


if __name__ == "__main__":
    main()
