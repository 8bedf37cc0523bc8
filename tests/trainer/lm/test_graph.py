"""Building, reading and refusing decoding graphs; agreement with kaldi-decoder on a large one."""

from __future__ import annotations

import itertools
import math
import random
import shutil
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.lm.graphs import HOUSE, PHONES, TEXT, build_house, invented_words, say
from tests.trainer.lm.test_search import write_fst
from trainer.cli import main
from trainer.lm.arpa import perplexity, read_arpa
from trainer.lm.errors import BadGraph, BadOption, BadText, GraphTooLarge
from trainer.lm.fst_file import load_arcs, read_header
from trainer.lm.graph import build_graph
from trainer.lm.graph_folder import PROBES, DecodingGraph, spelling
from trainer.lm.lexicon import Spoken, write_dictionary
from trainer.lm.ngram import estimate
from trainer.lm.options import DecoderOptions
from trainer.lm.scores import graph_log_probs
from trainer.lm.search import Search
from trainer.phonemes import CLASS_NAMES
from trainer.synthetic.lexicon import builtin_lexicon

WORDS = "abc"
sentences_of_abcd = st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=12)


@settings(max_examples=60)
@given(
    text=sentences_of_abcd,
    order=st.integers(1, 3),
    prune=st.sampled_from([(), (0, 1), (0, 0, 1), (0, 1, 2)]),
)
def test_every_context_shares_out_exactly_one(
    text: list[list[str]], order: int, prune: tuple[int, ...]
) -> None:
    if not any(word in WORDS for sentence in text for word in sentence):
        with pytest.raises(BadText):
            estimate(text, order=order, vocabulary=WORDS, prune=prune)
        return
    model = estimate(text, order=order, vocabulary=WORDS, prune=prune)
    for context in itertools.product(["<s>", "<unk>", *WORDS], repeat=order - 1):
        total = sum(math.exp(model.log_probability((*context, w))) for w in (*WORDS, "</s>", "<unk>"))
        assert total == pytest.approx(1, abs=1e-9)


def test_a_longer_memory_predicts_better_and_survives_a_file(tmp_path: Path) -> None:
    rng = random.Random(0)
    text = [
        ["we", *(rng.choice([("can", "see"), ("may", "go")])), rng.choice(["it", "now"])] for _ in range(200)
    ]
    vocabulary = {word for sentence in text for word in sentence}
    models = [estimate(text[:150], order=n, vocabulary=vocabulary) for n in (1, 2, 3)]
    measured = [perplexity(model, text[150:]) for model in models]
    assert measured[0] > 1.5 * measured[1] and measured[1] > measured[2]
    folder = tmp_path / "graph"
    (tmp_path / "text.txt").write_text("\n".join(" ".join(s) for s in text[:150]))
    write_dictionary(tmp_path / "words.dict", {word: [("AA", "B")] for word in vocabulary})
    arguments = ["--corpus", str(tmp_path / "text.txt"), "--lexicon", str(tmp_path / "words.dict")]
    assert main(["lm", "build", "--out", str(folder), *arguments]) == 0
    again = read_arpa(folder / "lm.arpa")
    assert perplexity(again, text[150:]) == pytest.approx(measured[2], rel=1e-4)
    # What a build that was killed left goes with the next one.
    (tmp_path / ".second.99999999.partial").mkdir()
    arpa = ["--arpa", str(folder / "lm.arpa"), "--lexicon", str(tmp_path / "words.dict")]
    assert main(["lm", "build", "--out", str(tmp_path / "second"), *arpa]) == 0
    assert (
        read_header(tmp_path / "second" / "TLG.fst").num_states == read_header(folder / "TLG.fst").num_states
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_house(tmp_path_factory.mktemp("house"))


def decoded(graph: DecodingGraph, logits: np.ndarray, **changes: float) -> list[str]:
    options = DecoderOptions().changed(changes)
    search = Search(graph.arcs, options)
    search.advance(graph_log_probs(logits, options.blank_penalty))
    return [graph.words.sentence(path.labels) for path in search.finish()]


def test_a_graph_says_the_sentences_of_its_text(house: Path) -> None:
    graph = DecodingGraph.load(house)
    rng = np.random.default_rng(0)
    for line in TEXT.splitlines():
        assert decoded(graph, say(line.split(), HOUSE, rng))[0] == line


def test_repeated_phonemes_and_homophones_are_told_apart(house: Path) -> None:
    graph = DecodingGraph.load(house)
    rng = np.random.default_rng(1)
    # K K in "bookcase" needs the blank between them; homophones are told apart by the language model alone.
    best = decoded(graph, say(["the", "bookcase"], HOUSE, rng, blanks=False))
    assert best[0] == "the bookcase"
    found = decoded(graph, say(["their", "cats"], HOUSE, rng))
    assert found[0] == "their cats" and "there cats" in found
    assert len(found) == len(set(found))


def test_words_are_spelled_in_the_graph_as_in_the_dictionary(house: Path) -> None:
    graph = DecodingGraph.load(house)
    for word, pronunciations in HOUSE.items():
        label = graph.words.label(word.upper())
        assert label is not None
        assert spelling(graph.arcs, label) == pronunciations[0]
    assert graph.words.label("unheard") is None and "unheard" not in graph.words


def test_logits_in_another_order_of_classes_decode_to_something_else(house: Path) -> None:
    graph = DecodingGraph.load(house)
    logits = say(["the", "cat", "sat"], HOUSE, np.random.default_rng(2))
    assert decoded(graph, logits)[0] == "the cat sat"
    assert decoded(graph, logits[:, [0, 40, *range(1, 40)]])[0] != "the cat sat"


def test_a_graph_for_another_order_of_phonemes_is_refused(tmp_path: Path) -> None:
    turned = dict(zip(PHONES, PHONES[1:] + PHONES[:1], strict=True))
    right = {word: [builtin_lexicon().of(word)[0]] for word in PROBES}
    wrong = {word: [tuple(turned[p] for p in phones[0])] for word, phones in right.items()}
    for name, dictionary in (("right", right), ("wrong", wrong)):
        folder = tmp_path / name
        folder.mkdir()
        write_dictionary(folder / "d.txt", dictionary)
        (folder / "t.txt").write_text("\n".join(PROBES))
        made = [
            "--corpus",
            str(folder / "t.txt"),
            "--lexicon",
            str(folder / "d.txt"),
            "--out",
            str(folder / "g"),
        ]
        assert main(["lm", "build", *made]) == 0
        (folder / "g" / "tokens.txt").unlink()  # as in the official release
    DecodingGraph.load(tmp_path / "right" / "g")
    with pytest.raises(BadGraph, match="another order of phonemes"):
        DecodingGraph.load(tmp_path / "wrong" / "g")
    tokens = tmp_path / "right" / "g" / "tokens.txt"
    tokens.write_text("".join(f"{name} {i}\n" for i, name in enumerate(["<eps>", *CLASS_NAMES])))
    with pytest.raises(BadGraph, match="label 1 is BLANK, expected <blk>"):
        DecodingGraph.load(tmp_path / "right" / "g")


def test_damaged_graphs_are_refused_in_words(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (house / "TLG.fst").read_bytes()
    path = tmp_path / "TLG.fst"
    for content, complaint in (
        (b"", "cut off within its header"),
        (b"PK\x03\x04" + good[4:], "not an OpenFst file"),
        (good[:-20], "cut off"),
        (good.replace(b"vector", b"constt", 1), "expected vector/standard"),
        (good[: len(good) // 2], "cut off"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadGraph, match=complaint):
            load_arcs(path)
    with pytest.raises(BadGraph, match="no such file"):
        load_arcs(tmp_path / "absent.fst")
    with pytest.raises(BadGraph, match="cycle"):
        load_arcs(write_fst(path, [(0, 0, 1, 1.0, 1), (1, 0, 2, 1.0, 0)], {1: 0.0}, 2))
    copy = shutil.copytree(house, tmp_path / "copy")
    (copy / "TLG.fst").write_bytes(good[: 16 * (len(good) // 32)])
    assert main(["lm", "info", str(copy)]) != 0  # without loading it
    assert f"{copy / 'TLG.fst'}: is cut off" in capsys.readouterr().err
    (copy / "TLG.fst").write_bytes(good)
    (copy / "words.txt").write_text("<eps> 0\nTHE one\n")
    with pytest.raises(BadGraph, match="line 2: expected SYMBOL id"):
        DecodingGraph.load(copy)


def test_a_graph_of_unknown_size_is_read_to_its_end(house: Path, tmp_path: Path) -> None:
    """As `fst...` programs write them into a pipe: the header says -1 states."""
    raw = bytearray((house / "TLG.fst").read_bytes())
    states = read_header(house / "TLG.fst").num_states
    at = raw.index(states.to_bytes(8, "little"))
    raw[at : at + 8] = (-1).to_bytes(8, "little", signed=True)
    (tmp_path / "TLG.fst").write_bytes(raw)
    assert read_header(tmp_path / "TLG.fst").num_states == -1
    one, other = load_arcs(house / "TLG.fst"), load_arcs(tmp_path / "TLG.fst")
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_graph_that_does_not_fit_is_refused_with_numbers(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        GraphTooLarge, match=r"needs about \d+ MiB of memory in 2 threads, and 1 MiB are free"
    ):
        DecodingGraph.load(house, threads=2, most_bytes=1 << 20)
    assert main(["lm", "info", str(house), "--threads", "1000000"]) == 0
    out = capsys.readouterr().out
    assert "does not fit" in out and "words            11" in out and "3, n-grams" in out


def test_what_cannot_be_built_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("the zebra\n")
    write_dictionary(tmp_path / "d.txt", HOUSE)
    (tmp_path / "v.txt").write_text("THE\nzebra\n")
    common = ["lm", "build", "--out", str(tmp_path / "g"), "--lexicon", str(tmp_path / "d.txt")]
    for more, complaint in (
        ([], "nothing to learn from"),
        (["--corpus", str(tmp_path / "none.txt")], "there is no file"),
        (
            ["--corpus", str(tmp_path / "t.txt"), "--vocab", str(tmp_path / "v.txt")],
            "no pronunciation: zebra",
        ),
        (["--corpus", str(tmp_path / "t.txt"), "--order", "9"], "order is 9"),
        (["--corpus", str(tmp_path / "t.txt"), "--prune", "0", "2", "1"], "prune is"),
        (["--arpa", str(tmp_path / "t.txt")], "no ARPA file"),
    ):
        assert main([*common, *more]) == 2
        assert complaint in capsys.readouterr().err
        assert not (tmp_path / "g").exists() and not list(tmp_path.glob(".g*"))
    with pytest.raises(BadOption, match="did you mean beam"):
        DecoderOptions().changed({"bem": 3})
    with pytest.raises(BadOption, match="lattice_beam is 20"):
        DecoderOptions(lattice_beam=20)


def test_training_labels_say_how_words_are_pronounced() -> None:
    the = [CLASS_NAMES.index(p) for p in ("DH", "AH")]
    thee = [CLASS_NAMES.index(p) for p in ("DH", "IY")]
    trials = [("The the.", [*the, 40, *thee, 40]), ("the!", [*the, 40]), ("two words", [*the, 40])]
    spoken = Spoken(trials)
    assert spoken.pronunciations == {"the": (("DH", "AH"), ("DH", "IY"))}
    assert spoken.sentences == [["the", "the"], ["the"], ["two", "words"]]
    assert spoken.num_unmatched == 1


def test_the_best_sentence_and_its_scores_are_those_of_kaldi_on_a_large_graph(tmp_path: Path) -> None:
    dictionary = invented_words(8000, seed=3)
    words, rng = sorted(dictionary), random.Random(4)
    text = [[words[min(7999, int(rng.expovariate(1 / 2000)))] for _ in range(5)] for _ in range(4000)]
    path = tmp_path / "TLG.fst"
    model = estimate(text, order=2, vocabulary=words)
    states, _ = build_graph(model, dictionary, words, path, say=lambda line: None)
    assert states >= 50_000
    options = DecoderOptions(max_active=1500, beam=14)
    search = Search(load_arcs(path), options)
    fst = kaldifst.StdVectorFst.read(str(path))
    noise = np.random.default_rng(5)
    for sentence in text[:3]:
        scores = graph_log_probs(0.4 * say(sentence, dictionary, noise, noise=2.0), options.blank_penalty)
        search.reset()
        for chunk in np.array_split(scores, 3):
            search.advance(chunk)
        partial, found = search.partial(), search.finish()
        kaldi = kaldi_decoder.FasterDecoder(
            fst,
            kaldi_decoder.FasterDecoderOptions(
                beam=options.beam, max_active=options.max_active, min_active=options.min_active
            ),
        )
        kaldi.init_decoding()
        scaled = (scores * options.acoustic_scale).astype(np.float32)
        kaldi.advance_decoding(kaldi_decoder.DecodableCtc(scaled, offset=0))
        for labels, graph_cost, acoustic_cost, final in (
            (found[0].labels, found[0].graph_cost, found[0].acoustic_cost, True),
            (partial, None, None, False),
        ):
            _, lattice = kaldi.get_best_path(use_final_probs=final)
            _, _, expected, weight = kaldifst.get_linear_symbol_sequence(lattice)
            assert labels == tuple(expected)
            if graph_cost is not None:
                assert graph_cost == pytest.approx(weight.value1, abs=1e-2)
                assert acoustic_cost == pytest.approx(weight.value2, abs=1e-2)
        assert len(found) > 1
        assert all(a.cost <= b.cost for a, b in itertools.pairwise(found))
        assert found[-1].cost <= found[0].cost + options.lattice_beam
