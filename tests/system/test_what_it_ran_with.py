"""What a run really ran with comes home with its results, and is shown."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from typing import Any

from tests.launcher.runners.index import own_variables, serving, wheel
from tests.system.house import House, eventually

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def test_packages_machine_code_and_data_are_recorded_with_the_results(house: House) -> None:
    data = house.root / "data"
    (data / "deep").mkdir(parents=True)
    (data / "a.bin").write_bytes(b"a" * 1000)
    (data / "deep" / "b.bin").write_bytes(b"b" * 10)
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "first")):
        subprocess.run([*GIT, *words], cwd=house.project, check=True, capture_output=True)
    (house.project / "counter.py").write_text("# changed\n")
    # It ends when the data has been read: that goes on beside it.
    seen = 'until grep -q \'"listing"\' "$LAUNCH_RUN_DIR"/logs/main/environment-1.json; do sleep 0.05; done'
    run = house.launch(house.job(seen, file_mounts={"data": str(data)}))
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason

    logs = house.results / run.id / "logs"
    told: dict[str, Any] = json.loads((logs / "environment-1.json").read_text())
    assert told["python"]["version"] == platform.python_version()
    assert told["packages"]["pytest"]
    assert told["environment"]["made_of"] == "system"
    assert told["machine"]["cpus"]
    (read,) = told["data"]
    digests = {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in ("a.bin", "deep/b.bin")
    }
    assert (read["target"], read["files"], read["bytes"], read["listing"]) == ("data", 2, 1010, digests)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    assert read["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    commit = subprocess.run(
        [*GIT, "rev-parse", "HEAD"], cwd=house.project, capture_output=True, text=True
    ).stdout
    assert told["code"]["commit"] == commit.strip()
    diff = (logs / "source.diff").read_bytes()
    assert told["code"]["diff_sha256"] == hashlib.sha256(diff).hexdigest()
    assert b"+# changed" in diff

    assert json.loads(house.command("status", run.id, "--json").stdout)["code"]["commit"] == commit.strip()
    shown = house.command("status", run.id).stdout
    assert f"{commit[:10]}" in shown and "changed since" in shown
    house.command("report", run.id)
    page = (house.results / run.id / "report.html").read_text()
    assert (
        commit[:10] in page and f"Python {platform.python_version()}" in page and read["sha256"][:16] in page
    )
    eventually(lambda: run.status().ended_at, "the end")
    house.audit(run)


def test_two_stages_with_environments_that_exclude_each_other(house: House) -> None:
    show = "python -c 'import tiny_one; print(\"got\", tiny_one.VERSION)'"
    with serving(house.root / "index") as index:
        for version in ("1.0", "2.0"):
            wheel(index.folder, "tiny-one", version)
        (house.project / "old.txt").write_text("tiny-one<2\n")
        (house.project / "new.lock").write_text("tiny-one==2.0\n")
        stages = [
            {"name": "old", "run": show, "environment": {"requirements": "old.txt"}},
            {"name": "new", "run": show, "environment": {"lock": "new.lock"}, "after": "old"},
        ]
        envs = {**own_variables(house.root), "UV_INDEX_URL": f"{index.url}/simple"}
        run = house.launch(house.job(None, stages=stages, envs=envs))
        result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    log = run.read_log().data.decode()
    assert log.index("got 1.0") < log.index("got 2.0")
    logs = house.results / run.id / "logs"
    told = {path.parent.name: json.loads(path.read_text()) for path in logs.glob("*/environment-*.json")}
    assert {name: one["packages"]["tiny-one"] for name, one in told.items()} == {"old": "1.0", "new": "2.0"}
    assert told["new"]["environment"]["made_of"] == "requirements.txt"
    house.audit(run)
