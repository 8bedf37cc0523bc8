"""What a machine is told at its first boot, and again at every later one. Pure: text in, text out.

Two parts of one MIME message for cloud-init. The first (cloud-config, once) installs the host key and the login
keys. The second (a boot hook, at *every* boot and before sshd starts) arms the deadline: plain user-data scripts
run only once per machine, and a machine that was stopped and started again would never end.

The machine ends by powering off. What that means, stopped or ended, and whether its disk stays, was said to EC2 when
it was created.
"""

from __future__ import annotations

import json
import re
import shlex
from datetime import timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from provisioning.models import HostKey

__all__ = ["END", "FOLDER", "MOST_BYTES", "boot_hook", "cloud_config", "user_data", "with_deadline"]

FOLDER = "/var/lib/launch"
END = f"{FOLDER}/end"
"""Ends the machine at once; the watchdog runs it as root."""
MOST_BYTES = 16 * 1024
"""EC2's limit, before base64."""

_BOUNDARY = "==launch=="
_DEADLINE = re.compile(r"^deadline=\d+$", re.MULTILINE)

_BOOT_HOOK = """\
#!/bin/sh
# Arms the deadline of this machine. Runs at every boot, before anybody can log in. To end it now: {folder}/end
deadline={deadline}
folder={folder}
umask 022
mkdir -p "$folder"
echo "$deadline" > "$folder/deadline.new" && mv "$folder/deadline.new" "$folder/deadline"

cat > "$folder/end.new" <<'END'
#!/bin/sh
# Ends this machine now.
sync
systemctl poweroff || shutdown -P now || poweroff -f
END

cat > "$folder/watch.new" <<'WATCH'
#!/bin/sh
# Ends this machine at the time that the file "deadline" beside this script says (seconds since 1970), which may change.
# Not in the first minutes: a machine that was started again finds the old time until the boot hook has written the new.
folder=${{0%/*}}
sleep "${{1:-120}}"
while :; do
    deadline=$(cat "$folder/deadline" 2>/dev/null)
    if [ "$(date +%s)" -ge "${{deadline:-0}}" ]; then
        "$folder/end"
    fi
    sleep "${{2:-10}}"
done
WATCH

chmod 755 "$folder/end.new" "$folder/watch.new"
mv "$folder/end.new" "$folder/end"
mv "$folder/watch.new" "$folder/watch"

if command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    cat > /etc/systemd/system/launch-deadline.service <<UNIT
[Unit]
Description=Ends this machine at its deadline
DefaultDependencies=no
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=$folder/watch
Restart=always
RestartSec=5
OOMScoreAdjust=-1000
[Install]
WantedBy=basic.target
UNIT
    systemctl daemon-reload
    systemctl enable launch-deadline.service >/dev/null 2>&1
    systemctl restart --no-block launch-deadline.service
else
    if [ -r "$folder/watch.pid" ]; then kill "$(cat "$folder/watch.pid")" 2>/dev/null; fi
    nohup "$folder/watch" >/dev/null 2>&1 &
    echo $! > "$folder/watch.pid"
fi
"""


def boot_hook(deadline: datetime, *, folder: str = FOLDER) -> str:
    """Return the script that arms the deadline; ``folder`` is where the machine keeps it."""
    return _BOOT_HOOK.format(deadline=_epoch(deadline), folder=shlex.quote(folder))


def cloud_config(public_keys: Sequence[str], host_key: HostKey | None) -> str:
    """Return the cloud-config part: JSON, which is YAML, so that no key can break out of its line."""
    config: dict[str, object] = {"ssh_authorized_keys": list(public_keys), "ssh_pwauth": False}
    if host_key is not None:
        kind = _key_kind(host_key.public)
        config["ssh_deletekeys"] = True
        config["ssh_keys"] = {f"{kind}_private": host_key.private, f"{kind}_public": host_key.public}
        # With ssh_keys cloud-init makes no others: the first contact is checked, whatever kind is asked for.
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def user_data(
    public_keys: Sequence[str], host_key: HostKey | None, deadline: datetime, *, also: Sequence[str] = ()
) -> str:
    """Return the whole message; the same arguments give the same bytes. ``also``: further scripts for every boot.

    Raises:
        ValueError: it is larger than EC2 allows.
    """
    parts = (
        ("text/cloud-boothook", boot_hook(deadline)),
        *(("text/cloud-boothook", script) for script in also),
        ("text/cloud-config", cloud_config(public_keys, host_key)),
    )
    lines = [f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"', "MIME-Version: 1.0", ""]
    for kind, text in parts:
        lines += [f"--{_BOUNDARY}", f'Content-Type: {kind}; charset="utf-8"', "MIME-Version: 1.0", "", text]
    whole = "\n".join([*lines, f"--{_BOUNDARY}--", ""])
    if len(whole.encode()) > MOST_BYTES:
        raise ValueError(
            f"{len(public_keys)} login keys make {len(whole.encode())} bytes of user-data; {MOST_BYTES} are allowed"
        )
    return whole


def with_deadline(text: str, deadline: datetime) -> str:
    """Return user-data of ours with another deadline.

    Raises:
        ValueError: it is not ours.
    """
    changed, count = _DEADLINE.subn(f"deadline={_epoch(deadline)}", text, count=1)
    if not count:
        raise ValueError("this user-data arms no deadline")
    return changed


def _epoch(at: datetime) -> int:
    return int(at.astimezone(timezone.utc).timestamp())


def _key_kind(public: str) -> str:
    kinds = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}
    kind = public.split(" ", 1)[0]
    if kind not in kinds:
        raise ValueError(f"a host key of type {kind!r} cannot be injected; use ed25519 or rsa")
    return kinds[kind]
