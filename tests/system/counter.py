"""A job whose every step follows from the one before, so that a lost or repeated step shows in its results.

Counts to TOTAL, one step every PACE seconds, saves every EVERY steps, and keeps the contract of a good program:
SIGTERM saves and leaves with 75, ``LAUNCH_RESUME_FROM`` goes on. With GATE and FILE it waits at step GATE until the
file exists: what a test does to it meanwhile happens in the middle, however busy the computer is.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

total, pace_s, every = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
gate = (int(sys.argv[4]), Path(sys.argv[5])) if len(sys.argv) > 4 else None
checkpoints = Path(os.environ["LAUNCH_CHECKPOINT_DIR"])
outputs = Path(os.environ["LAUNCH_OUTPUT_DIR"])
state = {"step": 0, "digest": "start", "rows": []}
resume_from = os.environ.get("LAUNCH_RESUME_FROM")
if resume_from:
    state = json.loads(Path(resume_from).read_text())
print(f"from step {state['step']}", flush=True)


def place(path, text):
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    beside.replace(path)


def save():
    text = json.dumps(state)
    name = f"step_{state['step']:06d}.json"
    place(checkpoints / f"{name}.sha256", f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n")
    place(checkpoints / name, text)


asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
while state["step"] < total:
    until = time.monotonic() + pace_s
    while not asked and (
        time.monotonic() < until or (gate and state["step"] >= gate[0] and not gate[1].exists())
    ):
        time.sleep(0.01)
    if asked:
        save()
        print(f"saved at {state['step']}", flush=True)
        sys.exit(75)
    step = state["step"] + 1
    digest = hashlib.sha256(f"{state['digest']} {step}".encode()).hexdigest()
    state = {"step": step, "digest": digest, "rows": [*state["rows"], f"{step},{digest[:8]}"]}
    with Path(os.environ["LAUNCH_METRICS_FILE"]).open("a") as metrics:
        metrics.write(json.dumps({"step": step, "total": total, "loss": 1.0 / step}) + "\n")
    if step % every == 0:
        save()
place(outputs / "metrics.csv", "\n".join(state["rows"]) + "\n")
place(outputs / "weights.txt", state["digest"] + "\n")
print("counted", flush=True)
