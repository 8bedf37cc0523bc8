"""Rescoring by a causal language model: a tiny OPT with random weights, saved to a folder, never downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.lm.conftest import Place
from trainer.cli import main
from trainer.errors import OutOfMemory
from trainer.lm.decoders import rank
from trainer.lm.errors import BadOption, LanguageModelError
from trainer.lm.rescore import CausalScorer, LlmRescorer, RescoringOptions, recombined, tidied
from trainer.lm.search import Hypothesis

TEXTS = ["the cat sat", "the cat sat there on the mat", "a dog", "cats", "their cat, sat"]


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the OPT models are: byte-level BPE, and </s> before every text."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("opt")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        TEXTS, vocab_size=300, min_frequency=1, special_tokens=["<s>", "<pad>", "</s>", "<unk>"]
    )
    bpe._tokenizer.post_processor = TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16, dropout=0.0, init_std=1.0,
    )  # fmt: skip
    OPTForCausalLM(config).save_pretrained(folder)
    return folder


def slow_score(scorer: CausalScorer, text: str, context: str = "") -> tuple[float, int]:
    """Token by token, one sentence alone: (sum of ln p, number of tokens)."""
    model, tokenizer = scorer._model, scorer._tokenizer
    ids = tokenizer(f"{context} {text}" if context else text)["input_ids"]
    first = len(tokenizer(context)["input_ids"]) if context else 1
    total = 0.0
    for n in range(first, len(ids)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[:n]])).logits[0, -1]
        total += float(logits.log_softmax(0)[ids[n]])
    return total, len(ids)


def test_scores_are_the_sum_over_tokens_in_batches_as_alone(opt: Path) -> None:
    scorer = CausalScorer.load(str(opt), device="cpu", batch_size=2)
    expected = [slow_score(scorer, text) for text in TEXTS]
    assert scorer.scores(TEXTS) == pytest.approx([total for total, _ in expected], abs=1e-4)
    assert len({round(total, 3) for total, _ in expected}) == len(TEXTS)
    penalised = scorer.scores(TEXTS, length_penalty=0.5)
    assert penalised == pytest.approx([total - 0.5 * n for total, n in expected], abs=1e-4)
    after = scorer.scores(TEXTS, context="a dog sat there")
    assert after == pytest.approx([slow_score(scorer, t, "a dog sat there")[0] for t in TEXTS], abs=1e-4)


def test_too_little_memory_means_smaller_batches_and_the_same_scores(opt: Path) -> None:
    scorer = CausalScorer.load(str(opt), device="cpu", batch_size=64)
    expected = scorer.scores(TEXTS)

    class Small(torch.nn.Module):
        """A device that holds so many sentences."""

        def __init__(self, model: torch.nn.Module, most: int) -> None:
            super().__init__()
            self.model, self.most = model, most

        def forward(self, input_ids: torch.Tensor, **more: Any) -> Any:
            if len(input_ids) > self.most:
                raise torch.OutOfMemoryError("no room")
            return self.model(input_ids=input_ids, **more)

    small = CausalScorer(Small(scorer._model, 2), scorer._tokenizer, batch_size=64)
    assert small.scores(TEXTS) == pytest.approx(expected, abs=1e-4)
    assert small.batch_size == 2
    with pytest.raises(OutOfMemory, match="does not hold one sentence"):
        CausalScorer(Small(scorer._model, 0), scorer._tokenizer).scores(TEXTS)


def test_exchanging_words_makes_new_candidates_that_are_a_little_worse() -> None:
    known = [
        Hypothesis("the cat sat", -10.0, -4.0, total=-3.0), Hypothesis("a dog sat", -12.0, -2.0, total=-4.0),
        Hypothesis("their cat sat down", -1.0, -1.0, total=-5.0), Hypothesis("the cats sat", -20.0, -3.0, total=-6.0),
    ]  # fmt: skip
    found = {h.text: h for h in recombined(known, 2, 0.01)}
    assert set(found) == {h.text for h in known} | {"a cat sat", "the dog sat"}
    new = found["a cat sat"]
    assert (new.acoustic, new.ngram) == pytest.approx((-11.11, -3.03))
    assert len(recombined(known, 4, 0.01)) > len(found)
    assert recombined(known, 0, 0.01) == known
    assert tidied("well , yes . who ?> ") == "well, yes. who?"


def test_alpha_moves_from_the_ngram_model_to_the_large_one(opt: Path) -> None:
    scorer = CausalScorer.load(str(opt), device="cpu")
    candidates = rank([Hypothesis(text, -10.0 - i, -5.0 - i) for i, text in enumerate(TEXTS)], 0.325)
    by_alpha = {}
    for alpha in (0.0, 0.55, 1.0):
        options = RescoringOptions(alpha=alpha, recombine_top=0)
        found = by_alpha[alpha] = LlmRescorer(scorer, options).rescore(candidates)
        for h in found:
            assert h.total == pytest.approx(0.325 * h.acoustic + (1 - alpha) * h.ngram + alpha * h.llm)
        assert [h.total for h in found] == sorted((h.total for h in found), reverse=True)
    assert [h.text for h in by_alpha[0.0]] == TEXTS
    assert [h.text for h in by_alpha[1.0]] != TEXTS
    with pytest.raises(BadOption, match=r"alpha is 1\.5"):
        RescoringOptions(alpha=1.5)


def test_evaluate_rescores_from_one_command(
    place: Place, opt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = place.arguments(
        "--words-dir", str(tmp_path / "w"), "--nbest", "4", "--llm", str(opt), "--alpha", "0.4"
    )
    assert main([*arguments, "--device", "cpu"]) == 0
    first = json.loads((tmp_path / "w" / "nbest.jsonl").read_text().splitlines()[0])["candidates"]
    assert all((c["llm"] < 0) == bool(c["text"]) for c in first) and len(first) > 1
    assert first[0]["total"] == pytest.approx(0.325 * first[0]["acoustic"] + 0.6 * first[0]["ngram"] + 0.4 * first[0]["llm"], abs=1e-3)  # fmt: skip
    (tmp_path / "empty").mkdir()
    assert main([*arguments, "--llm", str(tmp_path / "empty")]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    with pytest.raises(LanguageModelError):
        CausalScorer.load(str(tmp_path / "empty"), device="cpu")
