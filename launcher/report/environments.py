"""What a run's jobs ran with, as the machines wrote it down: read from its results, and as a part of the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from launcher.quantities import code_words, size
from launcher.results import LOGS_DIR

__all__ = ["environments_of", "section"]

SCHEMA = 1
FILES = "**/environment-*.json"


def environments_of(results: Path) -> list[Mapping[str, Any]]:
    """Return what lies in a folder of results, by stage and attempt; what cannot be read is left out."""
    found = []
    for path in sorted((results / LOGS_DIR).glob(FILES)):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and document.get("schema") == SCHEMA:
            found.append(document)
    return sorted(found, key=lambda one: (str(one.get("stage")), int(one.get("attempt") or 0)))


def section(environments: Sequence[Mapping[str, Any]]) -> str:
    """Write the part of the page; empty without any."""
    if not environments:
        return ""
    parts = [
        f"<h3>{escape(str(one.get('stage')))}, machine {escape(str(one.get('attempt')))}</h3>"
        f"<table>{''.join(_row(label, text) for label, text in _facts(one) if text)}</table>{_packages(one)}"
        for one in environments
    ]
    return f"<h2>What it ran with</h2>{''.join(parts)}"


def _row(label: str, text: str) -> str:
    return f'<tr><td class="q">{escape(label)}</td><td>{escape(text)}</td></tr>'


def _facts(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    machine, python, torch = one.get("machine") or {}, one.get("python"), one.get("torch")
    gpus = [str(gpu.get("name")) for gpu in machine.get("gpus") or ()]
    driver = f", driver {machine['driver']}" if machine.get("driver") else ""
    yield "machine", f"{machine.get('processor')}, {machine.get('cpus')} CPUs, {machine.get('os')}"
    yield "GPU", f"{' + '.join(gpus)}{driver}" if gpus else "none"
    yield (
        "Python",
        f"Python {python['version']}, made of: {one['environment'].get('made_of')}" if python else "none",
    )
    if torch:
        built = f" (CUDA {torch['cuda']})" if torch.get("cuda") else ""
        yield "torch", f"{torch.get('version')}{built}"
    yield "code", code_words(one.get("code") or {})
    for data in one.get("data") or ():
        read = (
            f"{data['files']} files, {size(data['bytes'])}, SHA-256 {data['sha256']}"
            if data.get("sha256")
            else data.get("problem")
        )
        yield f"data: {data.get('target')}", str(read)
    if one.get("data") is None:
        yield "data", "its digests were not computed before the job ended"


def _packages(one: Mapping[str, Any]) -> str:
    packages = one.get("packages") or {}
    lines = "\n".join(f"{name}=={version}" for name, version in packages.items())
    return (
        f"<details><summary>{len(packages)} packages</summary><pre>{escape(lines)}</pre></details>"
        if packages
        else ""
    )
