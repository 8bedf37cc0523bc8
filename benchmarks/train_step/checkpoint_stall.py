"""How long a checkpoint holds the training thread up: ``python -m benchmarks.train_step.checkpoint_stall``

Saves 500 MB of CPU tensors several times and prints, for each, the plain copy of the same tensors, the call of
`Checkpointer.save`, the difference, and when the file was durable. The first save also makes its buffers.
"""

from __future__ import annotations

import os
import tempfile
import time

import torch

from trainer.checkpoint import Checkpointer

NUM_TENSORS, VALUES_EACH = 100, 1_250_000


def main() -> None:
    state = {f"tensor {k}": torch.randn(VALUES_EACH) for k in range(NUM_TENSORS)}
    copies = {name: value.clone() for name, value in state.items()}
    print(
        f"{4 * NUM_TENSORS * VALUES_EACH / 1e6:.0f} MB, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as folder, Checkpointer(folder, keep=2) as checkpoints:
        for step in range(6):
            start = time.perf_counter()
            for name, value in state.items():
                copies[name].copy_(value)
            copied = time.perf_counter()
            checkpoints.save(step, state)
            saved = time.perf_counter()
            checkpoints.close(check=True)
            durable = time.perf_counter()
            stall = saved - copied - (copied - start)
            print(
                f"save {step + 1}: copy {1000 * (copied - start):.0f} ms, save() {1000 * (saved - copied):.0f} ms, "
                f"beyond the copy {1000 * stall:.0f} ms, durable after {durable - copied:.2f} s"
            )


if __name__ == "__main__":
    main()
