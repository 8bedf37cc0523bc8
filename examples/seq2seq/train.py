"""A translator (GRU encoder, attention, GRU decoder) as a competitor would write it: plain PyTorch and its own --resume.

python train.py --out out --checkpoints checkpoints [--steps 150] [--resume checkpoints/step_00000100.pt]

Keeps the contract of a run that survives: saves beside and renames, goes on from --resume, saves and leaves with 75 on
SIGTERM, appends its steps to LAUNCH_METRICS_FILE. Writes history.csv, curves.png, translations.tsv and model.pt.
"""

import argparse
import csv
import json
import os
import signal
import sys
from pathlib import Path

import sacrebleu
import torch
from corpus import pairs
from torch import nn

PAD, BEGIN, END = 0, 1, 2


class Words:
    """Numbers for words; the first three mean padding, the beginning and the end."""

    def __init__(self, sentences):
        self.words = ["<pad>", "<s>", "</s>", *sorted({word for sentence in sentences for word in sentence})]
        self.numbers = {word: number for number, word in enumerate(self.words)}

    def encode(self, sentences):
        """(N, longest + 2), padded."""
        rows = [torch.tensor([BEGIN, *(self.numbers[word] for word in s), END]) for s in sentences]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def decode(self, row):
        """The words up to the end."""
        found = row.tolist()
        return [self.words[n] for n in found[: found.index(END) if END in found else len(found)]]


class Translator(nn.Module):
    """Reads a sentence, then writes the other one word by word, looking back by attention."""

    def __init__(self, source_words, target_words, width=64):
        super().__init__()
        self.source = nn.Embedding(source_words, width, padding_idx=PAD)
        self.target = nn.Embedding(target_words, width, padding_idx=PAD)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(2 * width, target_words)

    def forward(self, source, target):
        """Scores of the next word at every place: (N, T, words)."""
        read, state = self.encoder(self.source(source))
        return self._write(read, state, source, target)[0]

    def translate(self, source, longest=16):
        """The likeliest next word, again and again: (N, longest)."""
        read, state = self.encoder(self.source(source))
        word, words = torch.full((len(source), 1), BEGIN), []
        for _ in range(longest):
            scores, state = self._write(read, state, source, word)
            word = scores.argmax(-1)
            words.append(word)
        return torch.cat(words, 1)

    def _write(self, read, state, source, target):
        written, state = self.decoder(self.target(target), state)
        weights = written @ read.transpose(1, 2)  # (N, T, S)
        weights = weights.masked_fill((source == PAD)[:, None], float("-inf")).softmax(-1)
        return self.out(torch.cat([written, weights @ read], -1)), state


def bleu(model, words, held_out):
    """BLEU of the held-out sentences, and what was written for them."""
    source_words, target_words = words
    with torch.no_grad():
        rows = model.eval().translate(source_words.encode([source for source, _ in held_out]))
    model.train()
    written = [" ".join(target_words.decode(row)) for row in rows]
    wanted = [" ".join(target) for _, target in held_out]
    return sacrebleu.corpus_bleu(written, [wanted], tokenize="none").score, written


def save(path, **state):
    """Beside it first: half a file is never taken for a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    torch.save(state, beside)
    beside.replace(path)


def draw(history, path):
    """Loss and BLEU over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, left = pyplot.subplots(figsize=(6, 3.5))
    left.plot([row["step"] for row in history], [row["loss"] for row in history], color="tab:blue")
    left.set(xlabel="step", ylabel="loss")
    right = left.twinx()
    judged = [row for row in history if row["val_bleu"] is not None]
    right.plot([row["step"] for row in judged], [row["val_bleu"] for row in judged], "o-", color="tab:orange")
    right.set(ylabel="BLEU", ylim=(0, 100))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main():
    """Train, judge, write down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--checkpoints", type=Path, default="checkpoints")
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    training, held_out = pairs(4000, seed=1), pairs(200, seed=2)
    words = Words([source for source, _ in training]), Words([target for _, target in training])
    sources, targets = words[0].encode([s for s, _ in training]), words[1].encode([t for _, t in training])
    model = Translator(len(words[0].words), len(words[1].words))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    first, history = 1, []
    if options.resume:
        saved = torch.load(options.resume, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, history = saved["step"] + 1, saved["history"]
        print(f"goes on after step {saved['step']}, from {options.resume}")

    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    report = Path(os.environ.get("LAUNCH_METRICS_FILE") or options.out / "metrics.jsonl")
    for step in range(first, options.steps + 1):
        order = torch.Generator().manual_seed(
            step
        )  # a function of the step: a resumed run sees the same batches
        rows = torch.randint(len(sources), (options.batch,), generator=order)
        scores = model(sources[rows], targets[rows, :-1])
        loss = nn.functional.cross_entropy(scores.transpose(1, 2), targets[rows, 1:], ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        judged = bleu(model, words, held_out)[0] if step % 25 == 0 or step == options.steps else None
        history.append({"step": step, "loss": loss.item(), "val_bleu": judged})
        with report.open("a") as lines:
            numbers = {name: value for name, value in history[-1].items() if value is not None}
            lines.write(json.dumps({**numbers, "total": options.steps}) + "\n")
        if judged is not None:
            print(f"step {step}/{options.steps}  loss {loss.item():.3f}  BLEU {judged:.1f}", flush=True)
        if asked or step % 50 == 0:
            path = options.checkpoints / f"step_{step:08d}.pt"
            save(path, step=step, model=model.state_dict(), optimizer=optimizer.state_dict(), history=history)
        if asked:
            sys.exit(75)

    score, written = bleu(model, words, held_out)
    with (options.out / "history.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ["step", "loss", "val_bleu"])
        writer.writeheader()
        writer.writerows(history)
    lines = (f"{' '.join(source)}\t{text}\n" for (source, _), text in zip(held_out, written, strict=True))
    (options.out / "translations.tsv").write_text("".join(lines))
    draw(history, options.out / "curves.png")
    save(options.out / "model.pt", model=model.state_dict(), words=[one.words for one in words])
    print(f"BLEU {score:.1f} on {len(held_out)} held-out sentences")


if __name__ == "__main__":
    main()
