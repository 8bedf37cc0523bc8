"""Following this computer's address: a laptop that moved to another network is let in to its machines again."""

from __future__ import annotations

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.store import InstanceRow
from provisioning import CloudError, Firewalled, InstanceRef
from provisioning.address import my_cidr

__all__ = ["follow_address"]

EVERY_S = 30.0


def follow_address(context: RunContext, row: InstanceRow) -> None:
    """Let this computer's present address reach a machine that does not answer, where a firewall may keep it out.

    Never raises for what stands in the way: it is said, and the wait goes on.
    """
    ref = InstanceRef.parse(row.ref)
    provider, memory, now = context.provider(ref.provider), context.memory, context.monotonic()
    if not isinstance(provider, Firewalled) or context.plan.ssh_from is not None:
        return
    if memory.address_asked_at is not None and now - memory.address_asked_at < EVERY_S:
        return
    memory.address_asked_at = now
    try:
        cidr = my_cidr(context.environ)
        changed = provider.admit(ref, cidr)
    except CloudError as err:
        hint = f" ({err.hint})" if err.hint else ""
        context.complain(
            "firewall", f"{ref}: its firewall could not be opened for this computer: {err}{hint}"
        )
        return
    context.is_well("firewall")
    if changed:
        words = f"this computer's address is {cidr} now: the firewall of {ref} lets it in again"
        context.report(Kind.DECISION, words, action="admit", cidr=cidr, ref=row.ref)
