"""Sentences are English, unseen in validation, and made of words that training knows."""

from collections import Counter

import numpy as np
import pytest

from trainer.synthetic import SIZES, BadSpec, SyntheticSpec, builtin_lexicon
from trainer.synthetic.grammar import RULES, expand
from trainer.synthetic.sentences import everyday_sentences, sentences, split_of, words_of
from trainer.synthetic.spec import SPLITS, Split

DEMO = SIZES["demo"]


def spoken(spec: SyntheticSpec, split: Split) -> list[str]:
    return [text for session in range(spec.sessions) for text in sentences(spec, session, split)]


def test_validation_and_test_sentences_are_never_trained_on() -> None:
    train = {" ".join(words_of(text)) for text in spoken(DEMO, "train")}
    for split in ("val", "test"):
        held_out = {" ".join(words_of(text)) for text in spoken(DEMO, split)}
        assert held_out.isdisjoint(train)


def test_all_words_of_validation_and_test_occur_in_training() -> None:
    known = {word for text in spoken(DEMO, "train") for word in words_of(text)}
    assert len(known) > 400
    for split in ("val", "test"):
        assert {word for text in spoken(DEMO, split) for word in words_of(text)} <= known


def test_no_sentence_is_repeated_within_a_file() -> None:
    for session in range(DEMO.sessions):
        for split in SPLITS:
            texts = sentences(DEMO, session, split)
            assert len(set(texts)) == len(texts) == DEMO.trials(split)


def test_lengths_are_as_asked() -> None:
    spec = SyntheticSpec.tiny(train=40, min_words=5, max_words=7)
    assert {len(words_of(text)) for text in spoken(spec, "train")} == {5, 6, 7}


def test_lengths_that_no_sentence_has_are_refused() -> None:
    spec = SyntheticSpec.tiny(min_words=25, max_words=30)
    with pytest.raises(BadSpec, match="found no sentence of 25 to 30 words") as caught:
        spoken(spec, "val")
    assert "widen" in str(caught.value.hint)


def test_the_lexicon_knows_every_word_that_can_be_said() -> None:
    texts = [text for split in SPLITS for text in everyday_sentences(split)]
    assert len(texts) > 300
    texts += [alternative for alternatives in RULES.values() for alternative in alternatives]
    words = {word for text in texts for word in words_of("".join(t.split(">")[-1] for t in text.split("<")))}
    builtin_lexicon().require(words)


def test_the_grammar_has_no_dead_or_missing_symbols() -> None:
    used = {
        part.partition(">")[0]
        for alternatives in RULES.values()
        for alternative in alternatives
        for part in alternative.split("<")[1:]
    }
    assert used | {"sentence"} == set(RULES)


def test_generated_sentences_are_many_and_all_phonemes_are_spoken() -> None:
    rng = np.random.default_rng(0)
    texts = [expand(rng) for _ in range(1000)]
    assert len(set(texts)) > 850
    lexicon = builtin_lexicon()
    phonemes = Counter(p for text in texts for word in words_of(text) for p in lexicon.of(word)[0])
    assert len(phonemes) == 39
    assert {"AH", "T", "N"} <= {phoneme for phoneme, _ in phonemes.most_common(6)}  # as in any English text


def test_splits_share_sentences_about_eight_to_one_to_one() -> None:
    rng = np.random.default_rng(1)
    shares = Counter(split_of(expand(rng)) for _ in range(2000))
    assert 0.75 < shares["train"] / 2000 < 0.85
    assert 0.07 < shares["val"] / 2000 < 0.13


def test_the_split_ignores_capitals_and_punctuation() -> None:
    assert split_of("Where is the map?") == split_of("where is the map")
