"""The example programs: what they leave, and that an interruption changes nothing of it."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import Job
from tests.forking import Fork, Forked
from tests.system.house import eventually

Program = Callable[..., Forked]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
IN_TURN = """\
import sys, train
for words in {both!r}:
    sys.argv[1:] = words
    train.main()
"""
ALONE_AND_WITH_LITTLE_MEMORY_AND_WITH_A_FAULT = """\
import sys, torch, train
def ours(words):
    sys.argv[1:] = words
    train.main()
alone, parts, cut = {all!r}
ours(alone)
loss_of, windows = train.loss_of, train.windows
def little(model, pieces):
    if pieces.shape[0] == 32:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return loss_of(model, pieces)
train.loss_of = little
ours(parts)
train.loss_of = loss_of
train.windows = lambda *given, seed: windows(*given, seed=seed) if seed < 7 else 1 / 0
ours(cut)
"""


@pytest.fixture
def program(fork: Fork) -> Program:
    """Start one in its own folder, on one thread: then numbers do not depend on the machine's cores."""

    def start(name: str, *arguments: str, code: str = "") -> Forked:
        return fork(["-c" if code else "train.py", *arguments], folder=EXAMPLES / name, code=code)

    return start


def ended(process: Forked) -> tuple[int | None, str]:
    said = process.wait(240)
    return process.returncode, said


def folders(folder: Path) -> tuple[str, ...]:
    return ("--out", str(folder / "out"), "--checkpoints", str(folder / "saved"))


def newest(folder: Path) -> str:
    return str(max((folder / "saved").glob("step_*.pt")))


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "out/training_history.json").read_text())
    return [row["loss"] for row in history]


def test_the_translator_learns_and_resumes_exactly(tmp_path: Path, program: Program) -> None:
    alone, cut = tmp_path / "alone", tmp_path / "cut"
    process = program("seq2seq", *folders(cut), "--steps", "50")
    lines = cut / "out/metrics.jsonl"
    eventually(lambda: lines.exists() and lines.read_text().count("\n") >= 10, "ten steps", 120)
    process.send(signal.SIGTERM)
    code, said = ended(process)
    assert code == 75, said
    both = [(*folders(cut), "--steps", "50", "--resume", newest(cut)), (*folders(alone), "--steps", "50")]
    code, said = ended(program("seq2seq", code=IN_TURN.format(both=both)))
    assert code == 0, said
    assert (cut / "out/history.csv").read_text() == (alone / "out/history.csv").read_text()
    rows = list(csv.DictReader((alone / "out/history.csv").read_text().splitlines()))
    scores = [float(row["val_bleu"]) for row in rows if row["val_bleu"]]
    assert scores[0] < scores[-1]
    assert scores[-1] > 30
    assert (alone / "out/curves.png").stat().st_size > 5000
    assert (alone / "out/translations.tsv").read_text().count("\n") == 200


def test_the_text_model_survives_errors_and_small_memories(tmp_path: Path, program: Program) -> None:
    arguments = ("--steps", "12", "--save-every", "2")
    alone, cut, parts = (tmp_path / name for name in ("alone", "cut", "parts"))
    everything = [
        (*folders(alone), *arguments),
        (*folders(parts), "--steps", "3"),
        (*folders(cut), *arguments),
    ]
    code, said = ended(
        program("gpt", code=ALONE_AND_WITH_LITTLE_MEMORY_AND_WITH_A_FAULT.format(all=everything))
    )
    assert (code, "ZeroDivisionError" in said) == (1, True), said
    assert said.count("in 2 parts from now on") == 1
    assert losses(parts) == pytest.approx(losses(alone)[:3], rel=1e-4)
    kept = sorted(path.name for path in (alone / "saved").glob("*.pt"))
    assert kept == ["best.pt", *(f"step_{step:08d}.pt" for step in (6, 8, 10, 12))]
    assert newest(cut).endswith("step_00000007.pt"), "the last whole step"
    code, said = ended(program("gpt", *folders(cut), *arguments))
    assert (code, "goes on after step 7" in said) == (0, True), said
    for file in ("training_history.json", "sample.txt", "final_model/config.json"):
        assert (cut / "out" / file).read_text() == (alone / "out" / file).read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_job_file_reads(path: Path) -> None:
    if "trainer" not in path.name:  # those are configurations of the trainer
        assert Job.from_yaml(path).every_stage


def test_the_reader_of_signs_begins_with_the_encoder_of_its_letters(tmp_path: Path, program: Program) -> None:
    def words_of(stage: str, *more: str) -> tuple[str, ...]:
        return (
            stage,
            "--out",
            str(tmp_path / stage),
            "--checkpoints",
            str(tmp_path / "saved" / stage),
            *more,
        )

    process = program("signs", *words_of("letters", "--steps", "5000"))
    eventually(lambda: "\n" in process.output() or not process.lives(), "the first line", 120)
    assert process.output().startswith("letters: step 20/"), process.output()
    process.send(signal.SIGTERM)
    code, said = ended(process)
    assert code == 75, said
    encoder = ("--encoder", str(tmp_path / "letters/encoder.pt"))
    both = [words_of("letters", "--steps", "70"), words_of("words", "--steps", "20", *encoder)]
    code, said = ended(program("signs", code=IN_TURN.format(both=both)))
    assert (code, "goes on after step" in said, "words: 10 parameters taken" in said) == (0, True, True), said
    result = json.loads((tmp_path / "words/result.json").read_text())
    assert 30 < result["val_top1"] < result["val_top5"], "from nothing it is 16 and 45 after so many steps"
