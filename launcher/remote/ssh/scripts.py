"""The POSIX shell scripts by which files are read and written on a machine; each is run as ``sh -c SCRIPT sh ARGS``.

No SFTP: a script takes one round trip where SFTP takes four or five, and works with servers that have no SFTP.
Their last words are read by `launcher.remote.ssh.command.error_in`.
"""

from __future__ import annotations

__all__ = ["GET", "KILL_GROUP", "READ", "READ_SOME", "WRITE"]

READ = r"""
export LC_ALL=C
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
if [ "$2" = 0 ] && [ -z "$3" ]; then exec cat < "$1"; fi
exec 3< "$1" || exit 1
if [ -z "$3" ]; then exec tail -c "+$(($2 + 1))" <&3; fi
if [ "$2" = 0 ]; then exec head -c "$3" <&3; fi
tail -c "+$(($2 + 1))" <&3 | head -c "$3"
"""
"""PATH OFFSET LIMIT. Opening comes first, so that what cannot be opened is an error and not an empty file."""

READ_SOME = r"""
mark=$1; shift
for file; do
  if cat < "$file" 2>/dev/null; then echo "$mark+"; else echo "$mark-"; fi
done 2>/dev/null
"""
"""MARK PATH…. After each content a line with the mark, unguessable, and whether there was one."""

WRITE = r"""
export LC_ALL=C
umask 022
case $1 in */*) mkdir -p -- "${1%/*}/" || exit 1;; esac
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
umask 077
trap 'rm -f -- "$2"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat > "$2" || exit 1
if [ "$(($(wc -c < "$2")))" != "$4" ]; then echo "not all of it arrived" >&2; exit 1; fi
chmod "$3" "$2" || exit 1
if [ -n "$5" ]; then TZ=UTC0 touch -d "$5" "$2" 2>/dev/null || TZ=UTC0 touch -t "$6" "$2"; fi
sync -- "$2" 2>/dev/null || sync
mv -f -- "$2" "$1"
"""
"""PATH TEMPORARY MODE SIZE ISO-TIME TOUCH-TIME; the last two may be empty. Whole and durable, or not at all."""

GET = r"""
export LC_ALL=C
if [ -d "$1" ]; then echo "Is a directory" >&2; exit 1; fi
exec 3< "$1" || exit 1
TZ=UTC0 stat -L -c '%.9Y' -- "$1" 2>/dev/null || stat -L -f '%Fm' -- "$1" 2>/dev/null || echo 0
exec cat <&3
"""
"""PATH. Prints the modification time in seconds since 1970 on a line of its own, then the content."""

KILL_GROUP = r"""
kill -15 "-$1" 2>/dev/null || kill -15 "$1" 2>/dev/null || exit 0
looks=0
while [ "$looks" -lt 20 ] && kill -0 "-$1" 2>/dev/null; do sleep 0.1; looks=$((looks + 1)); done
kill -9 "-$1" 2>/dev/null || kill -9 "$1" 2>/dev/null
exit 0
"""
"""PID of the group's leader. Whoever listens may clean up, for two seconds. Without ``--``, which dash takes for a number."""
