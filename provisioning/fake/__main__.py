"""The fake cloud's console: ``python -m provisioning.fake ls``, and what its machines and followers call."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import CloudError
from provisioning.fake.catalogue import PROVIDER, REGIONS
from provisioning.fake.machine import next_due
from provisioning.fake.provider import FakeProvider
from provisioning.fake.world import World
from provisioning.models import InstanceRef, utc_now
from provisioning.provider import ProviderContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.fake.machine import Machine

_LONGEST_NAP_S = 0.5
"""A follower looks up this often, in case that its machine was ended by somebody else."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; returns the exit code."""
    arguments = _parser().parse_args(argv)
    home: Path = arguments.home.absolute()
    try:
        if arguments.action == "ls":
            _list(home, as_json=arguments.json)
        elif arguments.action == "tick":
            _tick(home)
        elif arguments.action == "follow":
            _follow(home, arguments.machine)
        else:
            _command(home, arguments)
    except CloudError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m provisioning.fake", description="The fake cloud's console."
    )
    common = argparse.ArgumentParser(add_help=False)
    home = os.environ.get("LAUNCH_HOME")
    common.add_argument(
        "--home", type=Path, default=home and Path(home), required=not home, help="default: $LAUNCH_HOME"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser(
        "ls", parents=[common], help="every machine there ever was, and its bill"
    ).add_argument("--json", action="store_true")
    actions.add_parser("tick", parents=[common], help="do what is due by now, such as passed deadlines")
    one_machine = {
        "terminate": "end a machine",
        "park": "end its compute, keep its disk",
        "interrupt": "take it away, with notice or without",
        "expire": "do what its deadline does",
        "follow": "wait for its planned interruption, and do it",
    }
    for action, text in one_machine.items():
        one = actions.add_parser(action, parents=[common], help=text)
        one.add_argument("machine", help="its id, or fake/REGION/ID")
        if action == "interrupt":
            one.add_argument(
                "--notice", type=float, default=0.0, metavar="SECONDS", help="default: none at all"
            )
    return parser


def _list(home: Path, *, as_json: bool) -> None:
    with World(home, utc_now).open() as cloud:
        machines = list(cloud.machines.values())
    bills = [_bill(machine) for machine in machines]
    if as_json:
        sys.stdout.write(json.dumps({"schema": 1, "machines": bills}) + "\n")
        return
    for bill in bills:
        sys.stdout.write(
            f"{bill['ref']}  {bill['state']:<10}  {bill['token']:<32}  {bill['instance_type']:<11}"
            f"  {bill['seconds']:>8.0f} s  ${bill['usd']:.4f}  {bill['reason']}\n"
        )


def _bill(machine: Machine) -> dict[str, str | float | int | bool]:
    now = utc_now()
    return {
        "ref": f"{PROVIDER}/{machine.region}/{machine.id}",
        "state": machine.state.value,
        "reason": machine.reason,
        "run_id": machine.run_id,
        "attempt": machine.attempt,
        "token": machine.token,
        "instance_type": machine.instance_type,
        "zone": machine.zone,
        "spot": machine.spot,
        "seconds": machine.seconds(now),
        "usd": machine.usd(now),
    }


def _tick(home: Path) -> None:
    with World(home, utc_now).open():
        return


def _follow(home: Path, machine_id: str) -> None:
    world = World(home, utc_now)
    while world.exists:
        with world.open() as cloud:
            machine = cloud.machines.get(machine_id)
        if machine is None or machine.evicted_at is None:
            return
        at = next_due(machine)
        if at is None:
            return
        time.sleep(min(max((at - utc_now()).total_seconds(), 0.0), _LONGEST_NAP_S))


def _command(home: Path, arguments: argparse.Namespace) -> None:
    # Run by a watchdog inside the tmux session that is about to end: its hang-up must not end us first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    provider = FakeProvider(ProviderContext(home=home, environ=os.environ))
    text: str = arguments.machine
    ref = InstanceRef.parse(text) if "/" in text else InstanceRef(PROVIDER, next(iter(REGIONS)), text)
    if arguments.action == "terminate":
        provider.terminate(ref)
    elif arguments.action == "park":
        provider.park(ref)
    elif arguments.action == "interrupt":
        provider.interrupt(ref, notice_s=arguments.notice)
    else:
        provider.expire(ref)


if __name__ == "__main__":
    sys.exit(main())
