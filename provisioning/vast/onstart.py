"""What a container is told at its every start: one shell script. Pure: text out.

Vast keeps it as ``/root/onstart.sh`` and runs it again whenever the container starts, also one that was outbid and has
won again. It lets the run's keys in, shows the host key that was made at home, and arms the deadline, which the
container's own key carries out: Vast gives every container one that can stop or end that container and nothing else.
The account's key never gets there.
"""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING

from provisioning.models import WhenUnattended
from provisioning.vast.label import PARKED, PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.models import InstanceSpec

__all__ = ["END", "FOLDER", "MOST_CHARACTERS", "script"]

FOLDER = "/var/lib/launch"
END = f"{FOLDER}/end"
"""Ends the instance at once as its deadline would; the watchdog runs it."""
MOST_CHARACTERS = 4096
"""Vast's limit for all that is run at the start."""

_SCRIPT = """\
#!/bin/sh
umask 077
d={folder} s=${{HOME:=/root}}/.ssh k=/etc/ssh/ssh_host_ed25519_key
mkdir -p $d "$s" /etc/ssh
touch "$HOME/.no_auto_tmux"
while read -r line; do
    [ -z "$line" ] || grep -qxF "$line" "$s/authorized_keys" 2>/dev/null || echo "$line" >>"$s/authorized_keys"
done <<'KEYS'
{keys}
KEYS
{host_key}cat >$d/self <<SELF
id='$CONTAINER_ID' key='$CONTAINER_API_KEY' url='${{VAST_URL:-https://console.vast.ai}}'
SELF
cat >$d/call <<'CALL'
# call METHOD BODY: this instance, by its own key
. "${{0%/*}}/self"
call() {{
    u=$url/api/v0/instances/$id/
    if command -v curl >/dev/null; then
        printf 'header = "Authorization: Bearer %s"\\n' "$key" |
            curl -K - -fsSm 30 -X "$1" -H 'Content-Type: application/json' ${{2:+-d "$2"}} "$u"
    else
        U=$u K=$key python3 -c 'import os,sys,urllib.request as u
m,b=sys.argv[1:]
h={{"Authorization":"Bearer "+os.environ["K"],"Content-Type":"application/json"}}
print(u.urlopen(u.Request(os.environ["U"],b.encode() or None,h,method=m),timeout=30).read().decode())' "$1" "$2"
    fi
}}
CALL
cat >$d/end <<'END'
#!/bin/sh
# Ends this instance now; "stop" keeps its disk.
. "${{0%/*}}/call"
sync
if [ "${{1:-{how}}}" = stop ]; then call PUT '{{"state":"stopped"}}'; else call DELETE '{{}}'; fi
END
cat >$d/watch <<'WATCH'
#!/bin/sh
# Ends this instance when the time in the file "deadline" has come. Its label may have a newer time.
d=${{0%/*}} n=0
cd /
exec 9>"$d/lock"
command -v flock >/dev/null && {{ flock -n 9 || exit 0; }}
. "$d/call"
until [ $n = 20 ]; do
    l=$(call GET '' 2>/dev/null 9>&- | grep -o '"label": *"{prefix}[^"]*' | head -n1)
    [ "$l" ] && break
    n=$((n + 1)); sleep 5
done
t=$(echo "$l" | cut -d: -f7)
[ ${{#t}} -gt 6 ] && echo "${{t%??????}}" >"$d/deadline"
case $l in *:{parked}) echo 0 >"$d/deadline"; set stop ;; esac
while :; do
    [ "$(date +%s)" -ge "$(cat "$d/deadline")" ] && "$d/end" "$@" 9>&-
    sleep 10 9>&-
done
WATCH
[ -s $d/deadline ] || echo {deadline} >$d/deadline
chmod 700 $d/end $d/watch
nohup $d/watch </dev/null >/dev/null 2>&1 &
"""

_HOST_KEY = """\
cat >$k.new <<'KEY'
{private}
KEY
echo '{public}' >$k.pub
mv $k.new $k
kill -HUP "$(cat /run/sshd.pid)" || pkill -HUP -ox sshd
"""


def script(spec: InstanceSpec) -> str:
    """Return the script; the same spec gives the same bytes. Login keys that do not fit are left out, the last first.

    Raises:
        ValueError: not even one key fits, or the host key is none.
    """
    count = len(spec.ssh_public_keys)
    while len(text := _text(spec, spec.ssh_public_keys[:count])) > MOST_CHARACTERS:
        count -= 1
        if count < 1:
            raise ValueError(f"a login key makes {len(text)} characters to run; Vast takes {MOST_CHARACTERS}")
    return text


def _text(spec: InstanceSpec, public_keys: Sequence[str]) -> str:
    host_key = ""
    if spec.host_key is not None:
        if "'" in spec.host_key.public:
            raise ValueError("the host key has characters that no key has")
        host_key = _HOST_KEY.format(private=spec.host_key.private.strip(), public=spec.host_key.public)
    return _SCRIPT.format(
        folder=FOLDER,
        keys="\n".join(public_keys),
        host_key=host_key,
        how="stop" if spec.when_unattended is WhenUnattended.PARK else "end",
        prefix=PREFIX,
        parked=PARKED,
        deadline=int(spec.deadline.astimezone(timezone.utc).timestamp()),
    )
