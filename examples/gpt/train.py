"""A small GPT on a text, made to survive with the tools of `trainer`: four checkpoints and the best, out-of-memory
answered by smaller micro-batches, an emergency save on any error, exact resume.

python train.py --out out --checkpoints checkpoints [--steps 120] [--text some.txt]

Writes training_history.json, final_model/ (config.json, vocabulary.json, model.pt) and sample.txt. The metric is the
perplexity per character of text that was held out. Without --text it writes itself one by a small grammar.
"""

import argparse
import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torchmetrics.functional.text import perplexity

from trainer.checkpoint import Checkpointer
from trainer.interrupt import Exit, Interrupt
from trainer.memory import is_out_of_memory, release_cached
from trainer.metrics import MetricsWriter


@dataclass
class Shape:
    """The model's sizes."""

    characters: int
    context: int = 64
    width: int = 64
    heads: int = 4
    layers: int = 2


class Gpt(nn.Module):
    """Characters in, scores of the next character out: (N, T) → (N, T, characters)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.context = shape.context
        self.characters = nn.Embedding(shape.characters, shape.width)
        self.places = nn.Embedding(shape.context, shape.width)
        layer = nn.TransformerEncoderLayer(
            *(shape.width, shape.heads, 4 * shape.width),
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, shape.layers, nn.LayerNorm(shape.width), enable_nested_tensor=False
        )
        self.out = nn.Linear(shape.width, shape.characters)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        length = text.shape[1]
        later = nn.Transformer.generate_square_subsequent_mask(length, device=text.device)
        seen = self.characters(text) + self.places(torch.arange(length, device=text.device))
        return self.out(self.layers(seen, mask=later, is_causal=True))


def a_text(sentences: int, seed: int = 0) -> str:
    """Sentences of a small grammar: something to learn, and nothing to download."""
    chance = random.Random(seed)
    who = ["the old sailor", "a quiet child", "my neighbour", "the last train", "every summer"]
    does = ["waits for", "remembers", "paints", "counts", "follows"]
    what = ["the sea", "a red boat", "seven stones", "the evening", "his own shadow"]
    how = ["without a word", "again and again", "until morning", "in the rain", "for nobody"]
    lines = (
        " ".join(chance.choice(part) for part in (who, does, what, how)) + ".\n" for _ in range(sentences)
    )
    return "".join(lines)


def windows(data: torch.Tensor, batch: int, context: int, seed: int) -> torch.Tensor:
    """(batch, context + 1): pieces of the text, chosen by the seed alone, so that a resumed run sees the same ones."""
    chance = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(data) - context - 1, (batch,), generator=chance)
    return torch.stack([data[start : start + context + 1] for start in starts])


def loss_of(model: Gpt, pieces: torch.Tensor) -> torch.Tensor:
    """Mean negative log likelihood of each next character."""
    scores = model(pieces[:, :-1])
    return nn.functional.cross_entropy(scores.transpose(1, 2), pieces[:, 1:])


def step_in_parts(model: Gpt, pieces: torch.Tensor, parts: int) -> tuple[float, int]:
    """Gradients of one batch, in as many parts as memory needs. Returns the loss and the parts that worked."""
    while True:
        model.zero_grad(set_to_none=True)
        total = 0.0
        try:
            for part in pieces.chunk(parts):
                share = len(part) / len(pieces)
                loss = loss_of(model, part) * share
                loss.backward()
                total += loss.item()
            return total, parts
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or parts >= len(pieces):
                raise
        parts = min(2 * parts, len(pieces))
        release_cached(pieces.device)
        print(f"out of memory: the batch goes through in {parts} parts from now on", flush=True)


def sample(model: Gpt, letters: str, start: str, length: int) -> str:
    """Go on from ``start`` with the likeliest characters."""
    text = [letters.index(letter) for letter in start]
    with torch.no_grad():
        for _ in range(length):
            scores = model.eval()(torch.tensor([text[-model.context :]]))
            text.append(int(scores[0, -1].argmax()))
    return "".join(letters[number] for number in text)


def main() -> None:
    """Train until done, asked to leave, or failed; in each case leave what a resumed run needs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--checkpoints", type=Path, default="checkpoints")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--save-every", type=int, default=20)
    options = parser.parse_args()

    text = options.text.read_text() if options.text else a_text(2000)
    letters = "".join(sorted(set(text)))
    data = torch.tensor([letters.index(letter) for letter in text])
    held_out, training = data[: len(data) // 10], data[len(data) // 10 :]
    shape = Shape(characters=len(letters))
    torch.manual_seed(0)
    model = Gpt(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    judged = windows(held_out, 64, shape.context, seed=-1)
    history, parts, step = [], 1, 0
    metrics = MetricsWriter.from_environment()

    def state() -> dict:
        return {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": history,
            "parts": parts,
        }

    with Checkpointer(options.checkpoints, keep=4, warn=print) as checkpoints, Interrupt() as interrupt:
        if saved := checkpoints.load_newest():
            model.load_state_dict(saved.state["model"])
            optimizer.load_state_dict(saved.state["optimizer"])
            history, parts, step = saved.state["history"], saved.state["parts"], saved.step
            print(f"goes on after step {step}", flush=True)
        try:
            while step < options.steps:
                pieces = windows(training, options.batch, shape.context, seed=step)
                loss, parts = step_in_parts(model, pieces, parts)
                optimizer.step()
                step += 1
                is_due = step % options.save_every == 0 or step == options.steps
                row = {"step": step, "loss": loss}
                if is_due:
                    with torch.no_grad():
                        row["val_perplexity"] = perplexity(model(judged[:, :-1]), judged[:, 1:]).item()
                    print(
                        f"step {step}/{options.steps}  loss {loss:.3f}  perplexity {row['val_perplexity']:.2f}",
                        flush=True,
                    )
                history.append(row)
                metrics.write(step, options.steps, loss=loss, val_perplexity=row.get("val_perplexity"))
                if is_due or interrupt.requested:
                    perplexities = [one["val_perplexity"] for one in history if "val_perplexity" in one]
                    is_best = is_due and perplexities[-1] == min(perplexities)
                    checkpoints.save(step, state(), best=is_best)
                if interrupt.requested:
                    checkpoints.close(check=True)
                    sys.exit(Exit.INTERRUPTED)
        except Exception:
            checkpoints.save(step, state(), wait=True)  # whatever it was: the last whole step is not lost
            raise

    final = options.out / "final_model"
    final.mkdir(parents=True, exist_ok=True)
    (final / "config.json").write_text(json.dumps(asdict(shape), indent=1))
    (final / "vocabulary.json").write_text(json.dumps(letters))
    torch.save(model.state_dict(), final / "model.pt")
    (options.out / "training_history.json").write_text(json.dumps(history, indent=1))
    (options.out / "sample.txt").write_text(sample(model, letters, "the old ", 120) + "\n")


if __name__ == "__main__":
    main()
