"""A training script that is not ours, made safe to interrupt: six lines of it are marked.

python examples/any_script.py checkpoints                  # kill it, Ctrl-C it, start it again: it goes on
python examples/any_script.py other checkpoints/best.pt    # a new run from the weights of another
"""

import sys
from pathlib import Path

import torch

from trainer.checkpoint import Checkpointer, load
from trainer.interrupt import Exit, Interrupt
from trainer.metrics import MetricsWriter
from trainer.warm_start import warm_start

STEPS = 400
torch.manual_seed(0)
inputs = torch.randn(256, 8)
targets = inputs.sin().sum(1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
folder, *others = (Path(argument) for argument in sys.argv[1:])

metrics = MetricsWriter.from_environment()
with Checkpointer(folder, keep=2, every_s=60, every_steps=100) as checkpoints, Interrupt() as interrupt:  # 1
    start = 0
    if saved := checkpoints.load_newest():  # 2
        start = saved.step
        model.load_state_dict(saved.state["model"])
        optimizer.load_state_dict(saved.state["optimizer"])
    elif others:
        print(warm_start(model, load(others[0])["model"]).table())  # 3
    for step in range(start, STEPS):
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics.write(step + 1, STEPS, loss=loss.item())
        last = step + 1 == STEPS
        if interrupt.requested or last or checkpoints.due(step + 1):  # 4
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoints.save(step + 1, state, best=last)  # 5
        if interrupt.requested:
            checkpoints.close(check=True)
            sys.exit(Exit.INTERRUPTED)  # 6
    print(f"loss {loss.item():.6f} after {STEPS} steps, resumed from {start}")
