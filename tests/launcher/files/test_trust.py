"""Nothing that opens a door goes to a stranger's machine unless the job says so by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher.job import Job
from launcher.planning.preflight import Level
from launcher.planning.trust import for_strangers
from launcher.snapshot import survey
from provisioning import Capabilities, DeadlineKind

STRANGERS = {"vast": Capabilities(deadline=DeadlineKind.BOOT, strangers=True)}
FRIENDS = {"aws": Capabilities(deadline=DeadlineKind.BOOT)}


def refused(folder: Path, trust_with: list[str] | None = None, **fields: Any) -> str:
    workdir = folder / "code"
    workdir.mkdir(exist_ok=True)
    options = {"vast": {"trust_with": trust_with}} if trust_with else {}
    told = {"name": "job", "workdir": str(workdir), "run": "true", "provider_options": options, **fields}
    job = Job.from_dict(told, base_dir=folder)
    manifest = survey(workdir)
    assert not for_strangers(job, manifest, FRIENDS)
    found = for_strangers(job, manifest, STRANGERS)
    assert all(finding.level is Level.ERROR and finding.error is not None for finding in found)
    return "; ".join(str(finding.error) for finding in found)


def test_a_job_without_secrets_may_go_anywhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.h5").write_text("numbers")
    assert not refused(tmp_path, file_mounts={"data": "data", "more": "https://example.org/data.zip"})


def test_secrets_go_by_name(tmp_path: Path) -> None:
    secrets = {"HF_TOKEN": None, "WANDB_API_KEY": None}
    words = refused(tmp_path, secrets=secrets)
    assert "HF_TOKEN, WANDB_API_KEY" in words
    assert "provider_options.vast.trust_with" in words
    words = refused(tmp_path, ["HF_TOKEN"], secrets=secrets)
    assert "WANDB_API_KEY" in words
    assert "HF_TOKEN" not in words
    assert not refused(tmp_path, ["HF_TOKEN", "WANDB_API_KEY"], secrets=secrets)


def test_files_with_keys_go_by_their_path_on_the_machine(tmp_path: Path) -> None:
    (tmp_path / "kaggle.json").write_text("{}")
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "id_ed25519").write_text("private")
    mounts = {"config/kaggle.json": "kaggle.json", "dots": "dotfiles"}
    words = refused(tmp_path, file_mounts=mounts)
    assert "config/kaggle.json, dots" in words
    assert not refused(tmp_path, ["config/kaggle.json", "dots"], file_mounts=mounts)


def test_keys_among_the_code_count_too(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / ".env").write_text("TOKEN=1")
    assert ".env" in refused(tmp_path)
    assert not refused(tmp_path, [".env"])
