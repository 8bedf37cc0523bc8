"""``docs/job-file.md`` names exactly the fields that there are, with the defaults that they have."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

import pytest

from launcher import job as jobs
from launcher.job import Job, unsupported
from launcher.job.record import Record, fields_of, names_of

DOCS = Path(__file__).parents[3] / "docs" / "job-file.md"
SECTIONS: dict[str, type[Record]] = {
    "The top": Job,
    "`resources`": jobs.Resources,
    "`environment`": jobs.Environment,
    "`checkpoint`": jobs.Checkpoint,
    "`work`": jobs.Work,
    "`metric`": jobs.Metric,
    "`give_up`": jobs.GiveUp,
    "`recovery`": jobs.Recovery,
    "`notify`": jobs.Notify,
    "`smoke`": jobs.Smoke,
    "`stages`": jobs.Stage,
    "`promote`": jobs.Promote,
}


def section(title: str) -> str:
    parts = re.split(r"^## (.+)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def rows(title: str) -> dict[str, str]:
    """Field → the text of its default."""
    cells = [re.split(r"(?<!\\) \| ", line) for line in section(title).splitlines() if line.startswith("| `")]
    return {row[0].removeprefix("| ").strip("`"): row[2].strip() for row in cells}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_field_has_its_row(title: str) -> None:
    assert sorted(rows(title)) == sorted(names_of(SECTIONS[title]))


@pytest.mark.parametrize("title", SECTIONS)
def test_defaults_are_what_they_are(title: str) -> None:
    said = rows(title)
    for item in fields_of(SECTIONS[title]):
        default = written_default(item)
        if default is not None:
            assert said[item.name] == f"`{default}`", item.name


def written_default(item: Field[Any]) -> str | None:
    """The default as a job file would say it; None where the docs have to say it in words."""
    if item.default is MISSING or item.default in (None, (), ""):
        return None
    plain = item.metadata["rule"].write(item.default)
    return f"[{', '.join(plain)}]" if isinstance(plain, list) else str(plain)


def test_every_record_is_in_the_docs() -> None:
    records = {
        value for value in vars(jobs).values() if isinstance(value, type) and issubclass(value, Record)
    }
    assert records == set(SECTIONS.values())


def test_the_examples_are_jobs(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) >= 5
    for text in examples:
        complete = text if re.search(r"^(run|stages):", text, re.MULTILINE) else text + "\nrun: x\n"
        (tmp_path / "launch.yaml").write_text(complete, encoding="utf-8")
        Job.from_yaml(tmp_path / "launch.yaml")


def test_what_is_refused_is_said() -> None:
    everything = Job.from_dict(
        {
            "stages": [{"name": "a", "run": "x"}],
            "smoke": {"run": "y"},
            "when_unattended": "push",
            "checkpoint": {"mirror": "s3://bucket/ck"},
            "file_mounts": {"d": "kaggle://somebody/something"},
        }
    )
    assert [field for field, _ in unsupported(everything)] == ["file_mounts.d"]
    text = section("Read, and refused when run")
    for field, _ in unsupported(everything):
        assert field.removesuffix(".d") in text
