"""What the log of events tells is news: each thing once, and what is waited for by its name."""

from __future__ import annotations

from tests.launcher.cli.conftest import Cli

JOB = """\
name: again
run: |
  n=$(ls checkpoints | grep -vc sha256 || true)
  echo "$n" > checkpoints/.new && mv checkpoints/.new "checkpoints/c$n"
  sleep 1
  [ "$n" -ge 2 ] || exit 75
  setsid sleep 3 &
checkpoint: {dir: checkpoints}
resources: {cloud: local}
"""


def test_restarts_and_waits_are_told_once_and_in_words(cli: Cli) -> None:
    (cli.cwd / "job.yaml").write_text(JOB)
    done = cli("job.yaml", "--yes")
    assert done.code == 0, done.out + done.err
    events = cli("status", "again", "--json", "--events").document["events"]
    said = [event["message"] for event in events]
    for n in range(3):
        assert said.count(f"checkpoint c{n} is complete on the machine") == 1, said
    assert any("starts again on the same machine" in message for message in said)
    assert any("what it left running is waited for" in message for message in said)
