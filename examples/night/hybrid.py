"""A small network that learns what the baseline leaves over.

python hybrid.py --features features.h5 --baseline outputs/baseline/model.npz --out outputs/hybrid --checkpoints checkpoints
    [--steps 150] [--resume checkpoints/step_00000050.pt]

Saves every 50 steps beside and renames; on SIGTERM it saves and leaves with 75. Steps depend on their number alone.
"""

import argparse
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from night_data import nrmse, read, save, tell
from torch import nn

SAVE_EVERY, BATCH = 50, 256


def main():
    """Train, judge, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (
        ("features", "features.h5"),
        ("baseline", "outputs/baseline/model.npz"),
        ("out", "outputs/hybrid"),
    ):
        parser.add_argument(f"--{name}", default=value)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--resume")
    given = parser.parse_args()
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    (x, y), (val_x, val_y) = read(given.features)
    weights = np.load(given.baseline)["weights"]
    left = torch.tensor(y - (x @ weights[:-1] + weights[-1]), dtype=torch.float32, device=device)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    inputs = torch.tensor((x - mean) / scale, device=device)
    torch.manual_seed(7)
    model = nn.Sequential(
        nn.Linear(x.shape[1], 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
    ).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    step = 0
    if given.resume:
        state = torch.load(given.resume, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        print(f"goes on after step {step}")
    given.checkpoints.mkdir(parents=True, exist_ok=True)

    def keep():
        path = given.checkpoints / f"step_{step:08d}.pt"
        beside = path.with_name(f".{path.name}.incoming")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, beside)
        beside.replace(path)

    while step < given.steps and not asked:
        rows = torch.from_numpy(np.random.default_rng((7, step)).integers(0, len(x), BATCH)).to(device)
        loss = nn.functional.mse_loss(model(inputs[rows]).squeeze(1), left[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 10 == 0 or step == given.steps:
            tell(step=step, total=given.steps, loss=loss.item())
        if step % SAVE_EVERY == 0:
            keep()
    if asked and step < given.steps:
        keep()
        sys.exit(75)
    with torch.no_grad():
        said = (
            val_x @ weights[:-1]
            + weights[-1]
            + model(torch.tensor((val_x - mean) / scale, device=device)).squeeze(1).cpu().numpy()
        )
    score = nrmse(said, val_y)
    layers = {f"layer_{name}": value.cpu().numpy() for name, value in model.state_dict().items()}
    save(given.out, score, weights=weights, mean=mean, scale=scale, **layers)
    tell(step=step, total=given.steps, val_nrmse=score)
    print(f"hybrid: NRMSE {score:.4f}")


if __name__ == "__main__":
    main()
