"""`trainer evaluate` in words: from a run folder to error rates, lists of candidates and the submission."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.lm.conftest import Place
from tests.trainer.lm.graphs import HOUSE, TEXT, build_house, say
from trainer.cli import main
from trainer.interrupt import Interrupt
from trainer.lm.corpora import Corpora
from trainer.lm.decoders import GraphDecoder
from trainer.lm.errors import BadLogits
from trainer.lm.evaluate import decode_all
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.journal import Journal
from trainer.lm.logits import Utterance
from trainer.lm.options import DecoderOptions
from trainer.lm.report import score, summary
from trainer.lm.scores import average_in_probability, log_softmax
from trainer.lm.search import Hypothesis
from trainer.progress import Console


@pytest.fixture
def run(place: Place, tmp_path: Path) -> Place:
    """A copy of the run that a test may write to."""
    return Place(place.data, shutil.copytree(place.run, tmp_path / "run"), place.other, place.graph)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_validation_ends_with_rates_sentences_and_candidates(
    run: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_METRICS_FILE", str(run.run / "metrics.jsonl"))
    assert main(run.arguments("--nbest", "5")) == 0
    out = capsys.readouterr().out
    folder = run.run / "words_val"
    rates = json.loads((folder / "summary.json").read_text())
    assert json.loads((run.run / "metrics.jsonl").read_text()) == {"val_wer": rates["wer"]}
    assert rates["sentences"] == 4 and rates["by_session"].keys() == {"t15.2001.01.05", "t15.2001.01.07"}
    assert set(rates["by_corpus"]) <= {"Synthetic everyday", "Synthetic grammar"} and rates["by_corpus"]
    assert f"WER {100 * rates['wer']:6.2f} %" in out and "all of val" in out
    sentences = rows(folder / "sentences.csv")
    assert [row["id"] for row in sentences] == ["0", "1", "2", "3"]
    assert sum(int(row["edits"]) for row in sentences) / sum(int(r["words"]) for r in sentences) == pytest.approx(rates["wer"], abs=1e-6)  # fmt: skip
    lists = [json.loads(line) for line in (folder / "nbest.jsonl").read_text().splitlines()]
    for row, entry in zip(sentences, lists, strict=True):
        candidates = entry["candidates"]
        assert 1 <= len(candidates) <= 5 and candidates[0]["text"] == row["decoded"]
        for c in candidates:
            assert c["total"] == pytest.approx(0.325 * c["acoustic"] + c["ngram"], abs=1e-3)
    assert "computed before" not in out
    capsys.readouterr()
    assert main(run.arguments("--nbest", "5", "--acoustic-scale", "0.5")) == 0
    again = capsys.readouterr().out
    assert "logits of 4 trials: as computed before" in again and "finished before" not in again


def test_an_evaluation_that_was_cut_off_goes_on(run: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run.arguments()) == 0
    folder = run.run / "words_val"
    whole = {name: (folder / name).read_bytes() for name in ("nbest.jsonl", "sentences.csv", "summary.json")}
    lines = whole["nbest.jsonl"].splitlines(keepends=True)
    # As kill -9 leaves it: sentences in the order in which they were done, the last line half written.
    (folder / "nbest.jsonl").write_bytes(lines[2] + lines[0] + lines[1][:25])
    capsys.readouterr()
    assert main(run.arguments()) == 0
    assert "2 sentences were finished before: going on with 2" in capsys.readouterr().out
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    assert main(run.arguments("--fresh")) == 0
    assert "finished before" not in capsys.readouterr().out


def test_the_test_split_ends_with_a_checked_submission(
    run: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(run.arguments("--split", "test")) == 0
    out = capsys.readouterr().out
    assert "4 sentences, in good form; made of synthetic data" in out and "WER" not in out
    folder = run.run / "words_test"
    written = rows(folder / "submission_synthetic.csv")
    decoded = rows(folder / "sentences.csv")
    assert [(r["id"], r["text"]) for r in written] == [(r["id"], r["decoded"]) for r in decoded]
    assert not (folder / "submission.csv").exists()
    check = ["submission", "check", str(folder / "submission_synthetic.csv"), "--data-dir", str(run.data)]
    assert main([*check, "--run-dir", str(run.run)]) == 2


def test_a_missing_session_or_language_model_is_said(run: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    data = shutil.copytree(run.data, tmp_path / "data")
    shutil.rmtree(data / "hdf5_data_final" / "t15.2001.01.07")
    lacking = Place(data, run.run, run.other, run.graph)
    assert main(lacking.arguments("--split", "test")) == 2
    assert "session t15.2001.01.07 has no folder" in capsys.readouterr().err
    assert main(["evaluate", "--run-dir", str(run.run), "--data-dir", str(run.data), "--split", "test"]) == 2
    assert "--graph DIR names a decoding graph" in capsys.readouterr().err
    nowhere = Place(run.data, run.run, run.other, tmp_path / "nowhere")
    assert main(nowhere.arguments()) == 2
    assert "there is no graph folder" in capsys.readouterr().err


def test_several_checkpoints_are_averaged_in_probability_space(
    run: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    def logits(*more: str) -> np.ndarray:
        assert main(run.arguments("--words-dir", str(run.run / "w"), *more)) == 0
        with np.load(run.run / "w" / "logits.npz") as file:
            return np.asarray(file["logits"])

    one = logits()
    two = logits("--ensemble", str(run.other))
    other = logits("--checkpoint", str(run.other / "checkpoint" / "best_checkpoint"))
    expected = np.log((np.exp(log_softmax(one)) + np.exp(log_softmax(other))) / 2)
    assert np.allclose(two, expected, atol=1e-5)
    assert np.allclose(np.exp(two).sum(1), 1, atol=1e-5)
    with pytest.raises(BadLogits, match="3×41 and 4×41"):
        average_in_probability([np.zeros((3, 41), np.float32), np.zeros((4, 41), np.float32)])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> dict[int, DecodingGraph]:
    root = tmp_path_factory.mktemp("house")
    return {order: DecodingGraph.load(build_house(root / str(order), order=order)) for order in (1, 3)}


def heard(noise: float, repeats: int = 4) -> list[Utterance]:
    rng = np.random.default_rng(7)
    said = TEXT.splitlines() * repeats
    return [
        Utterance(
            id=i, session="s", block_num=1, trial_num=i, sentence=line, labels=np.zeros(0, np.int32),
            logits=say(line.split(), HOUSE, rng, noise=noise),
        )
        for i, line in enumerate(said)
    ]  # fmt: skip


def rate(folder: Path, graph: DecodingGraph, utterances: list[Utterance]) -> float:
    options = DecoderOptions(nbest=3)
    with Interrupt() as interrupt, Journal(folder, {"fresh": str(len(utterances))}, fresh=True) as journal:
        decode_all(
            utterances, GraphDecoder(graph, options, jobs=2), None, journal, interrupt, Console(quiet=True)
        )
        return float(summary(score(utterances, journal.finished, Corpora(folder)))["wer"])


def test_better_ears_and_a_longer_memory_make_fewer_errors(
    house: dict[int, DecodingGraph], tmp_path: Path
) -> None:
    by_noise = [rate(tmp_path, house[3], heard(noise)) for noise in (5.0, 3.0, 1.0)]
    assert by_noise[0] > by_noise[1] > by_noise[2] == 0.0
    assert rate(tmp_path, house[1], heard(3.0)) > by_noise[1]


def test_bad_logits_are_refused_and_finished_sentences_kept(
    house: dict[int, DecodingGraph], tmp_path: Path
) -> None:
    decoder = GraphDecoder(house[3], DecoderOptions())
    assert decoder.decode(np.zeros((0, 41), np.float32)) == []
    utterances = heard(1.0, repeats=1)
    broken = utterances[-1].logits[:1].copy()  # the shortest is decoded last
    broken[0, 3] = np.nan
    last = Utterance(id=99, session="s", block_num=1, trial_num=99, sentence="", labels=np.zeros(0, np.int32), logits=broken)  # fmt: skip
    with Interrupt() as interrupt, Journal(tmp_path, {}) as journal:
        with pytest.raises(BadLogits, match="nan at frame 0, class 3") as caught:
            decode_all([*utterances, last], decoder, None, journal, interrupt, Console(quiet=True))
        assert len(journal.finished) == len(utterances)
    assert "6 finished sentences" in str(caught.value.left_behind)
    with pytest.raises(BadLogits, match="3×40, expected T×41"):
        decoder.decode(np.zeros((3, 40), np.float32))
    assert score([last], {}, Corpora(tmp_path))[0].best == Hypothesis("", 0.0, 0.0)


def test_being_asked_to_leave_keeps_what_is_done(house: dict[int, DecodingGraph], tmp_path: Path) -> None:
    utterances = heard(1.0, repeats=1)

    class Leaving(GraphDecoder):
        def decode(self, logits: np.ndarray) -> list[Hypothesis]:
            interrupt.request("SIGTERM")
            return super().decode(logits)

    with Interrupt() as interrupt, Journal(tmp_path, {}) as journal:
        decode_all(
            utterances, Leaving(house[3], DecoderOptions()), None, journal, interrupt, Console(quiet=True)
        )
        assert 1 <= len(journal.finished) < len(utterances)
        kept = dict(journal.finished)
    with Journal(tmp_path, {}) as again:
        assert again.finished.keys() == kept.keys()
        assert all(again.finished[i][0].text == kept[i][0].text for i in kept)
