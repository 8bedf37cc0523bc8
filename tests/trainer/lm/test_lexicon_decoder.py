"""Decoding without a graph: flashlight-text against the exact search over the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.lm.conftest import Place
from tests.trainer.lm.graphs import HOUSE, TEXT, build_house, say
from trainer.cli import main
from trainer.lm.arpa import read_arpa, read_unigrams
from trainer.lm.decoders import GraphDecoder
from trainer.lm.errors import BadGraph, BadText, GraphTooLarge
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.lexicon import write_dictionary
from trainer.lm.lexicon_decoder import LexiconDecoder
from trainer.lm.options import DecoderOptions


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_house(tmp_path_factory.mktemp("house"))


def test_the_best_sentence_is_that_of_the_graph_and_scores_come_apart(house: Path) -> None:
    options = DecoderOptions()
    without, exact = LexiconDecoder(house, options), GraphDecoder(DecodingGraph.load(house), options)
    model, rng = read_arpa(house / "lm.arpa"), np.random.default_rng(0)
    for line in TEXT.splitlines():
        logits = say(line.split(), HOUSE, rng, noise=1.5)
        found, expected = without.decode(logits), exact.decode(logits)
        assert found[0].text == expected[0].text == line
        # No silence is weighed here, so that the alignment may be a better one, within what silences cost a graph.
        silences = 2.2 / options.acoustic_scale * (len(line.split()) + 1)
        assert expected[0].acoustic - 1e-2 <= found[0].acoustic <= expected[0].acoustic + silences
        assert len({h.text for h in found}) == len(found)
        words = ("<s>", *line.split(), "</s>")
        ngram = sum(model.log_probability(words[max(0, i - 2) : i + 1]) for i in range(1, len(words)))
        assert found[0].ngram == pytest.approx(ngram, abs=1e-3)
        assert all(h.total == pytest.approx(0.325 * h.acoustic + h.ngram) for h in found)
        assert found[-1].total >= found[0].total - options.lattice_beam
    assert without.decode(np.zeros((0, 41), np.float32)) == []
    assert "bookcase" in without and "zebra" not in without


def test_of_too_many_homophones_the_rarest_are_left_out_and_counted(tmp_path: Path) -> None:
    dictionary = {f"word{c}": [("W", "ER", "D")] for c in "abcdefgh"}
    write_dictionary(tmp_path / "d.txt", dictionary)
    (tmp_path / "t.txt").write_text("".join(f"word{c}\n" * n for n, c in enumerate("hgfedcba", start=1)))
    made = [
        "--corpus",
        str(tmp_path / "t.txt"),
        "--lexicon",
        str(tmp_path / "d.txt"),
        "--out",
        str(tmp_path / "g"),
    ]
    assert main(["lm", "build", *made]) == 0
    decoder = LexiconDecoder(tmp_path / "g", DecoderOptions())
    found = decoder.decode(say(["worda"], dictionary, np.random.default_rng(0)))
    assert decoder.num_dropped == 2
    assert [h.text for h in found if " " not in h.text] == [f"word{c}" for c in "abcdef"]


def test_what_is_missing_or_too_large_is_refused(house: Path, tmp_path: Path) -> None:
    with pytest.raises(BadGraph, match=r"lm\.arpa is missing"):
        LexiconDecoder(tmp_path, DecoderOptions())
    with pytest.raises(GraphTooLarge, match=r"needs about \d+ MiB of memory, and 0 MiB are free"):
        LexiconDecoder(house, DecoderOptions(), most_bytes=100)
    with pytest.raises(BadGraph, match=r"KenLM cannot use .* at least a bigram"):
        LexiconDecoder(build_house(tmp_path / "short", order=1), DecoderOptions())
    assert read_unigrams(house / "lm.arpa").keys() == {
        w for (w,) in read_arpa(house / "lm.arpa").probabilities[0]
    }
    (tmp_path / "x").write_text("no model\n")
    with pytest.raises(BadText, match="no ARPA file"):
        read_unigrams(tmp_path / "x")


def test_evaluate_needs_no_graph_file_for_it(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lm.arpa", "lexicon.txt"):
        (tmp_path / name).write_bytes((place.graph / name).read_bytes())
    small = Place(place.data, place.run, place.other, tmp_path)
    words = ["--words-dir", str(tmp_path / "w")]
    assert main(small.arguments(*words, "--decoder", "lexicon", "--lexicon-beam-size", "50")) == 0
    assert "all of val" in capsys.readouterr().out
    assert main(small.arguments(*words)) == 2
    assert "words.txt cannot be read" in capsys.readouterr().err
