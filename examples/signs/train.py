"""A reader of finger spelling in two stages: letters first, then words with the encoder of the first stage.

python train.py letters --out letters --checkpoints saved/letters
python train.py words --out words --checkpoints saved/words --encoder letters/encoder.pt

A CTC model over the letters. `words` is judged by top-1 and top-5: how often the word that was signed is the likeliest of
the lexicon, or among the five likeliest. Both commands save beside and rename, go on from the newest checkpoint in their
folder, and leave with 75 when they are asked to.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from poses import LETTERS, POINTS, WORDS, signed, spelt
from torch import nn

from trainer.checkpoint import Checkpointer, load
from trainer.interrupt import Exit, Interrupt
from trainer.metrics import MetricsWriter
from trainer.warm_start import warm_start

JUDGE_EVERY = 20


class Reader(nn.Module):
    """Frames of a hand in, log-probabilities of letters (0: none) every other frame out: (N, T, 42) → (T / 2, N, 27)."""

    def __init__(self, width=48):
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "frames": nn.Conv1d(2 * POINTS, width, kernel_size=3, stride=2, padding=1),
                "time": nn.GRU(width, width, batch_first=True, bidirectional=True),
            }
        )
        self.head = nn.Linear(2 * width, 1 + len(LETTERS))

    def forward(self, clips):
        """See the class."""
        seen = self.encoder["frames"](clips.transpose(1, 2)).relu().transpose(1, 2)
        return self.head(self.encoder["time"](seen)[0]).log_softmax(-1).transpose(0, 1)

    @staticmethod
    def lengths(frames):
        """How many outputs there are for so many frames."""
        return (frames + 1) // 2


def batch_of(pairs):
    """Clips (N, T, 42) padded, their lengths, and the texts as numbers."""
    clips = nn.utils.rnn.pad_sequence([clip for _, clip in pairs], batch_first=True)
    frames = torch.tensor([len(clip) for _, clip in pairs])
    return clips, frames, [torch.tensor([1 + LETTERS.index(letter) for letter in text]) for text, _ in pairs]


def loss_of(model, pairs):
    """The CTC loss per clip."""
    clips, frames, texts = batch_of(pairs)
    sizes = torch.tensor([len(text) for text in texts])
    return nn.functional.ctc_loss(
        model(clips), torch.cat(texts), model.lengths(frames), sizes, zero_infinity=True
    )


@torch.no_grad()
def rank(model, pairs):
    """Log-probability of every word of the lexicon for every clip: (N, words)."""
    clips, frames, _ = batch_of(pairs)
    scores, lengths = model.eval()(clips), model.lengths(frames)
    model.train()
    columns = []
    for word in WORDS:
        text = torch.tensor([1 + LETTERS.index(letter) for letter in word]).expand(len(pairs), -1)
        sizes = torch.full((len(pairs),), len(word))
        columns.append(-nn.functional.ctc_loss(scores, text, lengths, sizes, reduction="none"))
    return torch.stack(columns, 1)


def judge(model, stage, held_out):
    """The numbers that say how good the model is, in percent or as a loss."""
    if stage == "letters":
        with torch.no_grad():
            return {"val_loss": loss_of(model, held_out).item()}
    from torchmetrics.functional.classification import multiclass_accuracy  # letters are not judged by it

    scores, true = rank(model, held_out), torch.tensor([WORDS.index(text) for text, _ in held_out])

    def top(k):
        return multiclass_accuracy(scores, true, num_classes=len(WORDS), average="micro", top_k=k)

    return {f"val_top{k}": 100 * top(k).item() for k in (1, 5)}


def write(path, content):
    """Beside it first, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    if isinstance(content, str):
        beside.write_text(content)
    else:
        torch.save(content, beside)
    beside.replace(path)


def main():
    """Train one stage, judge, write down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=("letters", "words"))
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--checkpoints", type=Path, default="checkpoints")
    parser.add_argument("--encoder", type=Path, help="encoder.pt of the other stage: start from it")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    draw = spelt if options.stage == "letters" else signed
    torch.set_num_threads(1)  # so small a model only waits for more
    torch.manual_seed(0)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    held_out = draw(torch.Generator().manual_seed(10_000), 100)
    metrics, end, numbers = MetricsWriter.from_environment(), options.steps, {}

    with Checkpointer(options.checkpoints, keep=2, every_s=5) as checkpoints, Interrupt() as interrupt:
        start = 0
        if saved := checkpoints.load_newest():
            start, numbers = saved.step, saved.state["numbers"]
            model.load_state_dict(saved.state["model"])
            optimizer.load_state_dict(saved.state["optimizer"])
            print(f"{options.stage}: goes on after step {start}")
        elif options.encoder:
            given = {f"encoder.{name}": value for name, value in load(options.encoder).items()}
            print(f"{options.stage}: {warm_start(model, given, require=['encoder.']).summary()}")
        for step in range(start + 1, end + 1):
            # What is drawn follows from the step: a resumed run sees the same clips.
            loss = loss_of(model, draw(torch.Generator().manual_seed(step), options.batch))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if step % JUDGE_EVERY == 0 or step == end:
                numbers = judge(model, options.stage, held_out)
                shown = "  ".join(f"{name} {value:.2f}" for name, value in numbers.items())
                print(f"{options.stage}: step {step}/{end}  loss {loss.item():.3f}  {shown}", flush=True)
            metrics.write(step, end, loss=loss.item(), **numbers)
            if interrupt.requested or step == end or checkpoints.due(step):
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                checkpoints.save(step, {**state, "numbers": numbers})
            if interrupt.requested and step < end:
                checkpoints.close(check=True)
                sys.exit(Exit.INTERRUPTED)
    write(options.out / "encoder.pt", model.encoder.state_dict())
    write(options.out / "model.pt", model.state_dict())
    write(options.out / "result.json", json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
