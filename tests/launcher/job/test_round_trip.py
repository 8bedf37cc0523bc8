"""Whatever a job is, its plain form is JSON and gives the same job back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import JobFileError
from launcher.job import Job

# PyYAML's emitter folds Unicode's own line breaks (which nobody types) into a space.
LETTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\x85\u2028\u2029")
TEXT = st.text(LETTERS, min_size=1, max_size=20)
WORD = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
PATH = st.lists(WORD, min_size=1, max_size=3).map("/".join)
VARIABLE = st.from_regex(r"[A-KM-Z_][A-Z0-9_]{0,6}", fullmatch=True)
DURATION = st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=99))
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)
AMOUNT = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["", "+"]))
SIZE = st.builds("{}{}".format, st.integers(1, 9999), st.sampled_from(["", "GB", "GiB", "TB", "MB"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)

CONDITIONS = st.dictionaries(
    WORD.filter(lambda word: word not in ("step", "total")),
    st.builds("{} {}".format, st.sampled_from([">=", ">", "<=", "<"]), st.floats(-1e9, 1e9)),
    min_size=1,
    max_size=2,
)

MACHINE = {
    "cloud": WORD,
    "region": WORD,
    "zone": WORD,
    "instance_type": TEXT,
    "accelerators": st.builds(
        "{}:{}".format, st.sampled_from(["T4", "RTX 4090", "A100-80GB"]), st.integers(1, 8)
    ),
    "cpus": AMOUNT,
    "memory": st.builds("{}{}".format, SIZE, st.sampled_from(["", "+"])),
    "disk_size": SIZE,
    "use_spot": st.booleans(),
    "image_id": TEXT,
    "max_hourly_cost": POSITIVE,
    "labels": st.dictionaries(WORD, TEXT, max_size=2),
}


def some(
    fields: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=fields)


RESOURCES = some(MACHINE) | some(MACHINE, any_of=st.lists(some(MACHINE), min_size=1, max_size=2))
ENVIRONMENT = st.just("system") | some({"python": st.just("3.11"), "requirements": PATH})
MODE = st.sampled_from(["min", "max"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": WORD,
    "workdir": PATH,
    "resources": RESOURCES,
    # In a place of its own: places that lie in one another are refused.
    "file_mounts": st.dictionaries(
        WORD.map("Mounted/{}".format), PATH | st.just("s3://bucket/key"), max_size=2
    ),
    "envs": st.dictionaries(VARIABLE, st.none() | TEXT, max_size=3),
    "secrets": st.dictionaries(st.from_regex(r"L[0-9]{1,3}", fullmatch=True), st.none(), max_size=2),
    "setup": TEXT,
    "environment": ENVIRONMENT,
    "file_outputs": st.dictionaries(PATH | st.just("*.csv"), PATH, max_size=2),
    "checkpoint": some(
        {
            "dir": PATH,
            "every": DURATION,
            "mirror": st.sampled_from(["home", "none", "gs://b/c"]),
            "mirror_every": st.just("auto") | DURATION,
            "keep": st.integers(1, 99),
        }
    ),
    "max_duration": DURATION,
    "max_cost": POSITIVE,
    "when_unattended": st.sampled_from(["push", "park", "linger"]),
    "work": some({}, steps=st.integers(1, 10**9)) | some({}, hours=st.floats(1e-6, 87_600.0), on=TEXT),
    "progress": st.lists(WORD.map("{} (?P<step>[0-9]+)".format), max_size=2),
    "metric": some({"mode": MODE}, name=TEXT),
    "expect": CONDITIONS,
    "give_up": some({}, unless=CONDITIONS, after_steps=st.integers(1, 10**9))
    | some({}, unless=CONDITIONS, after=DURATION),
    "requires": st.lists(PATH, max_size=2),
    "recovery": some({"max_restarts_on_errors": st.integers(0, 9)}),
    "notify": some({"on": st.just(["finished"])}, command=TEXT),
    "idle_stop": DURATION,
    "smoke": some({"max_duration": DURATION, "max_cost": POSITIVE}, run=TEXT),
    "provider_options": st.dictionaries(WORD, st.dictionaries(WORD, PLAIN, max_size=2), max_size=2),
}
PROMOTE = some({"mode": MODE, "by": st.floats(0, 9)}, file=PATH, metric=TEXT)
STAGES = st.lists(
    some(
        {
            "resources": RESOURCES,
            "environment": ENVIRONMENT,
            "setup": TEXT,
            "outputs": st.lists(PATH, max_size=2),
            "on_failure": st.sampled_from(["stop", "continue"]),
            "promote": PROMOTE,
        },
        name=WORD,
        run=TEXT,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda stage: stage["name"],
)
JOBS = some(FIELDS, run=TEXT) | some(FIELDS, stages=STAGES)


@settings(deadline=None, max_examples=25)
@given(JOBS)
def test_plain_data_and_back(tree: dict[str, Any]) -> None:
    job = Job.from_dict(tree, base_dir=Path("/project"))
    plain = job.to_dict()
    assert Job.from_dict(json.loads(json.dumps(plain)), base_dir=job.base_dir) == job


@settings(deadline=None, max_examples=15)
@given(JOBS)
def test_the_plain_form_is_a_job_file(tmp_path_factory: Any, tree: dict[str, Any]) -> None:
    job = Job.from_dict(tree, base_dir=Path("/project"))
    path: Path = tmp_path_factory.mktemp("round") / "launch.yaml"
    path.write_text(yaml.safe_dump(job.to_dict(), allow_unicode=True), encoding="utf-8")
    assert Job.from_yaml(path) == job


@settings(deadline=None, max_examples=15)
@given(JOBS, st.text(max_size=20))
def test_a_misspelt_field_is_never_taken(tree: dict[str, Any], name: str) -> None:
    known = set(FIELDS) | {"run", "stages", "num_nodes"}
    if name in known:
        return
    with pytest.raises(JobFileError, match="no such field"):
        Job.from_dict({**tree, name: 1})
