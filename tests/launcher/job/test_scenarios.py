"""Wrong job files, as people write them: one clear error each, that names the field.

Every file in ``scenarios/`` is a job file whose first comment says what must be in the error, and perhaps in the hint.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import JobFileError
from launcher.job import Job

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))


def said(text: str, word: str) -> str | None:
    lines = [line.removeprefix(f"# {word}: ") for line in text.splitlines() if line.startswith(f"# {word}: ")]
    return lines[0] if lines else None


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_one_clear_error(path: Path) -> None:
    text = path.read_text()
    with pytest.raises(JobFileError) as caught:
        Job.from_yaml(path)
    error = caught.value
    expected = said(text, "error")
    assert expected is not None
    assert f"{path}: {expected}" in str(error)
    assert "\n" not in str(error)
    assert error.exit_code == 2
    hint = said(text, "hint")
    assert hint is None or hint in (error.hint or "")
