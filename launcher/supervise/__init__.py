"""The one background process per home that follows all live runs.

``python -m launcher.supervise`` holds ``supervisor.lock`` for as long as it lives, advances every live run when
its next look is due, and ends when no run is live. Everything it knows is in the record, so that killing it at
any moment loses nothing: the next one, started by any command, goes on where it was.
"""

from launcher.supervise.background import ensure_supervisor, hold_lock, supervise, supervisor_pid
from launcher.supervise.supervisor import Supervisor

__all__ = ["Supervisor", "ensure_supervisor", "hold_lock", "supervise", "supervisor_pid"]
