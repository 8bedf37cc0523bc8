from pathlib import Path

import pytest

from trainer.synthetic import (
    BadLexicon,
    SyntheticSpec,
    builtin_lexicon,
    generate_trial,
    read_lexicon,
    write_dataset,
)

ENTRIES = """;;; a comment
READ  R EH1 D
READ(2)  R IY1 D
READ(3)  R IY0 D
ABOUT AH0 B AW1 T # with a comment behind
'TIS  T IH1 Z
"""


def test_cmudict_form_with_stress_variants_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "cmudict.dict"
    path.write_text(ENTRIES)
    lexicon = read_lexicon(path)
    assert lexicon.of("read") == (("R", "EH", "D"), ("R", "IY", "D"))
    assert lexicon.of("about") == (("AH", "B", "AW", "T"),)
    assert "'tis" in lexicon
    assert len(lexicon) == 3


def test_older_dictionaries_in_latin_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cmudict"
    path.write_bytes("DÉJÀ  D EY1 ZH AA2\n".encode("latin-1"))
    assert read_lexicon(path).of("déjà") == (("D", "EY", "ZH", "AA"),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("WORD\n", "line 1: not a dictionary entry"),
        ("GOOD  G UH1 D\nBAD  B QQ1 D\n", "line 2: 'QQ' is not one of the 39"),
        ("NOISE  SIL\n", "'SIL' is not one of the 39"),
        ("EMPTY  # nothing\n", "without phonemes"),
        ("", "holds no words"),
    ],
)
def test_a_malformed_dictionary_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "dictionary"
    path.write_text(text)
    with pytest.raises(BadLexicon, match=complaint):
        read_lexicon(path)


def test_a_missing_dictionary_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadLexicon, match="cannot read the dictionary"):
        read_lexicon(tmp_path / "absent")


def test_a_dictionary_without_the_needed_words_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_text(ENTRIES)
    with pytest.raises(BadLexicon, match=r"no pronunciation for \d+ of the words needed: ") as caught:
        write_dataset(tmp_path / "out", SyntheticSpec.tiny(cmudict=path))
    assert "--cmudict" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_another_dictionary_changes_how_sentences_are_spoken(tmp_path: Path) -> None:
    path = tmp_path / "flat"
    path.write_text("".join(f"{word.upper()}  M AA1\n" for word in builtin_lexicon().pronunciations))
    trial = generate_trial(SyntheticSpec.tiny(cmudict=path), 0, 0, "train")
    assert trial.sentence == generate_trial(SyntheticSpec.tiny(), 0, 0, "train").sentence
    assert set(trial.utterance.labels.tolist()) == {1, 22, 40}


def test_the_dictionary_in_use_is_part_of_what_a_data_set_is(tmp_path: Path) -> None:
    path = tmp_path / "dictionary"
    path.write_text("".join(f"{word}  B IY\n" for word in builtin_lexicon().pronunciations))
    spec = SyntheticSpec.tiny(sessions=1, train=1, val=0, test=0)
    assert write_dataset(tmp_path / "out", spec).written
    assert not write_dataset(tmp_path / "out", spec).written
    assert write_dataset(tmp_path / "out", spec.changed(cmudict=path), force=True).written
