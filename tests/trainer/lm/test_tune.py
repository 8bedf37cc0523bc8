"""`trainer lm tune`: the best weights are found, kept with the model, and taken by the evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.lm.conftest import Place
from tests.trainer.lm.graphs import HOUSE, TEXT, build_house, say
from trainer.cli import main
from trainer.contract import Exit
from trainer.errors import DataError
from trainer.lm.errors import BadOption
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.logits import Utterance
from trainer.lm.options import DecoderOptions
from trainer.lm.rescore import RescoringOptions
from trainer.lm.tune import Trial, TuningGrid, best_of, sample, tune
from trainer.progress import Console


def heard(sentences: list[str]) -> list[Utterance]:
    rng = np.random.default_rng(1)
    return [
        Utterance(
            id=i, session="s", block_num=1, trial_num=i, sentence=line, labels=np.zeros(0, np.int32),
            logits=say(line.split(), HOUSE, rng, noise=3.0),
        )
        for i, line in enumerate(sentences)
    ]  # fmt: skip


def test_the_weights_with_the_fewest_errors_win_and_points_are_tried_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = DecodingGraph.load(build_house(tmp_path))
    record = tmp_path / "lm_options.json"
    utterances = heard(TEXT.splitlines())

    def run(*scales: float) -> Exit:
        return tune(
            utterances, graph, DecoderOptions(nbest=1), TuningGrid(acoustic_scales=scales, blank_penalties=(90.0,)), jobs=2,
            scorer=None, rescoring=RescoringOptions(recombine_top=0), record=record, identity={"a": [1]},
            console=Console(),
        )  # fmt: skip

    assert run(0.001, 0.4) == Exit.DONE
    found = json.loads(record.read_text())
    by_scale = {t["acoustic_scale"]: t["wer"] for t in found["trials"]}
    assert by_scale[0.001] > by_scale[0.4] and found["best"]["acoustic_scale"] == 0.4
    capsys.readouterr()
    assert run(0.001, 0.4, 0.5) == Exit.DONE
    said = capsys.readouterr().out
    assert "3/3: acoustic scale 0.5" in said and "1/3" not in said and "2/3" not in said


def test_of_equals_the_usual_weights_win_and_samples_are_spread() -> None:
    usual = DecoderOptions()
    trials = [Trial(0.8, 9, 0, 0.1), Trial(0.3, 90, 0, 0.1), Trial(0.325, 90, 0, 0.2)]
    assert best_of(trials, usual) == trials[1]
    utterances = heard(TEXT.splitlines()[:5])
    assert [u.id for u in sample(utterances, 3)] == [0, 2, 4]
    assert len(sample(utterances, 100)) == 5
    with pytest.raises(BadOption):
        sample(utterances, 0)
    with pytest.raises(DataError):
        sample([], 3)
    with pytest.raises(BadOption, match="blank penalties"):
        TuningGrid(blank_penalties=())


def test_the_evaluation_takes_what_was_tuned_for_its_graph(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(place.run, tmp_path / "run")
    both = ["--run-dir", str(run), "--data-dir", str(place.data), "--graph", str(place.graph)]
    assert (
        main(["lm", "tune", *both, "--acoustic-scales", "0.5", "--blank-penalties", "9", "--sentences", "2"])
        == 0
    )
    assert "best: --acoustic-scale 0.5 --blank-penalty 9" in capsys.readouterr().out
    assert main(["lm", "tune", *both, "--alphas", "0", "1"]) == 2
    assert "--llm names none" in capsys.readouterr().err
    assert main(["evaluate", *both]) == 0
    assert "tuned: acoustic_scale 0.5, blank_penalty 9" in capsys.readouterr().out
    assert json.loads((run / "words_val" / "request.json").read_text())["options"]["acoustic_scale"] == 0.5
    assert main(["evaluate", *both, "--acoustic-scale", "0.3"]) == 0
    options = json.loads((run / "words_val" / "request.json").read_text())["options"]
    assert (options["acoustic_scale"], options["blank_penalty"]) == (0.3, 9)
    other = build_house(tmp_path / "house")
    capsys.readouterr()
    assert main(["evaluate", *both[:4], "--graph", str(other)]) == 0
    assert "tuned" not in capsys.readouterr().out
