"""`launch calibrate`: a few minutes on the real machine, then the estimate of the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from launcher.cli.arguments import example
from launcher.cli.estimate import EstimateCommand
from launcher.cli.failures import EXIT_DECLINED, nothing_rented
from launcher.cli.options import CHOICE, JOB, LIMITS, OUTPUT, STAGE, api_options
from launcher.cli.screen import Screen
from launcher.cli.start import agreed, job_of

__all__ = ["calibrate"]

MINUTES = click.Option(
    ["--minutes"],
    type=click.FloatRange(min=0.05, max=120.0),
    default=3.0,
    help="Of steps to measure; 3 unless said.",
)
DRY = click.Option(["--dry-run"], is_flag=True, help="Say what it would rent and cost at most; then stop.")
YES = click.Option(["--yes", "-y"], is_flag=True, help="Do not ask.")


@click.pass_context
def _calibrate(ctx: click.Context, /, **given: Any) -> int:
    screen = Screen(json=given["as_json"], debug=given["debug"])
    from launcher.calibrating import calibrate as measure
    from launcher.calibrating import limited
    from launcher.planning.preparation import prepare
    from launcher.render.bill import bill, limited_bill

    with nothing_rented():
        job = job_of(ctx, screen, given)
        with screen.busy("Checking, and asking for prices"):
            prepared = limited(prepare(job, **api_options(given)), given["minutes"])
        prepared.require_ok()
        screen.show(limited_bill(prepared, given["minutes"]))
        if given["dry_run"]:
            if screen.json:
                from launcher.render.documents import plan_document

                screen.document(plan_document(prepared))
            return 0
        if not given["yes"]:
            if not agreed(screen, prepared):
                return EXIT_DECLINED
            prepared = replace(prepared, accepts_client_deadline=True)
        prepared.require_consent()
    from launcher.render.lines import event_line

    def tell(event: Any) -> None:
        if event.kind.value != "progress":
            screen.notice(event_line(event))

    found = measure(prepared, minutes=given["minutes"], on_event=tell)
    if screen.json:
        fields = {"run_id": found.run_id, "steps_per_s": found.steps_per_s, "cost_usd": found.cost_usd}
        screen.document({**fields, "estimate": found.estimate.to_json()})
        return 0
    from launcher.render import words

    screen.say(f"{found.run_id}: {words.rate(found.steps_per_s)}, for {words.usd(found.cost_usd)}")
    screen.show(bill(found.estimate))
    return 0


calibrate = EstimateCommand(
    name="calibrate",
    callback=_calibrate,
    params=[*CHOICE, MINUTES, *LIMITS, *STAGE, *JOB, DRY, YES, *OUTPUT],
    short_help="Measure the pace for some minutes.",
    help=(
        "Run the job for some minutes on a machine, bring nothing home, end it; then price the whole run from its pace. "
        "The job has to report steps in its metrics file."
    ),
    epilog=example("launch calibrate examples/shell-job.yaml --provider fake --gpu T4 --dry-run"),
)
