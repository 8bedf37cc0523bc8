"""Tries the GPU in the job's own environment, after its setup and before its long part: minutes are cheaper than hours.

Says in words what does not work. A machine without a GPU, one whose GPU is hidden from this job, and an environment
without torch have nothing to try. Exit codes: 0 fine, 1 the machine is at fault, 2 the environment is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

TIMEOUT_S = 180.0
"""The first use of a GPU loads hundreds of megabytes of libraries."""
MACHINE, ENVIRONMENT = 1, 2

TRIAL = r"""
import sys
try:
    import torch
except ImportError:
    print("no torch here: the GPU is not tried")
    sys.exit(0)
built_for = torch.version.cuda or getattr(torch.version, "hip", None)
kind = "ROCm" if getattr(torch.version, "hip", None) else "CUDA"
if not built_for:
    print("torch %s is a build for CPUs only, and this machine has a GPU" % torch.__version__)
    sys.exit(2)
if not torch.cuda.is_available():
    print("torch %s (%s %s) does not see the GPU" % (torch.__version__, kind, built_for))
    sys.exit(1)
for index in range(torch.cuda.device_count()):
    name = torch.cuda.get_device_name(index)
    major, minor = torch.cuda.get_device_capability(index)
    known = [one[3:] for one in torch.cuda.get_arch_list() if one.startswith("sm_")]
    numbers = [int("".join(filter(str.isdigit, one))) for one in known]
    if kind == "CUDA" and numbers and not min(numbers) <= 10 * major + minor:
        print("%s has compute capability %d.%d; torch %s supports %s" % (
            name, major, minor, torch.__version__, ", ".join(sorted(known))))
        sys.exit(2)
    try:
        ones = torch.ones(256, 256, device="cuda:%d" % index)
        total = (ones @ ones).sum().item()
    except RuntimeError as error:
        print("%s cannot multiply: %s" % (name, str(error).splitlines()[0]))
        sys.exit(2 if "no kernel image" in str(error) else 1)
    if total != 256.0 ** 3:
        print("%s multiplies wrongly: %r" % (name, total))
        sys.exit(1)
    print("%s works with torch %s (%s %s)" % (name, torch.__version__, kind, built_for))
"""


def driver() -> str | None:
    """What the driver's own tool lists; empty when it fails, None where there is no such tool."""
    for argv in (["nvidia-smi", "-L"], ["rocm-smi", "--showproductname"]):
        if not shutil.which(argv[0]):
            continue
        try:
            told = subprocess.run(
                argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return told.stdout.decode(errors="replace").strip() if told.returncode == 0 else ""
    return None


def fault_of_machine(listed: str | None, expected: int) -> str | None:
    """Why the machine is not the one that was rented; None when it is."""
    if listed is None:
        return "a machine with %d GPU was rented, and it has neither nvidia-smi nor rocm-smi" % expected
    if not listed:
        return "the GPU's driver does not answer (nvidia-smi or rocm-smi failed)"
    found = re.findall(r"(?m)^GPU (?:\d+:|\[)", listed)
    if found and len(found) < expected:
        return "%d GPUs were rented, and the driver lists %d" % (expected, len(found))
    return None


def is_hidden() -> bool:
    """This job was given no GPU."""
    return any(os.environ.get(name) == "" for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write("[launch] %s\n" % text)
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """``[WORDS [GPUS]]``: where to leave the reason of a failure, and how many GPUs the machine should have."""
    code, words = probe(int(arguments[1]) if len(arguments) > 1 else 0)
    for line in words:
        say(line)
    if code and arguments:
        with open(arguments[0], "w", encoding="utf-8", errors="replace") as file:
            file.write(words[-1])
    return code


def probe(expected: int) -> tuple[int, list[str]]:
    """An exit code as the top of this file has them, and what was found."""
    listed = driver()
    if is_hidden() or (listed is None and not expected):
        return 0, []
    fault = fault_of_machine(listed, expected)
    if fault:
        return MACHINE, [fault]
    try:
        tried = subprocess.run(
            ["python3", "-c", TRIAL],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return 0, []
    except subprocess.TimeoutExpired:
        return MACHINE, ["the GPU did not finish a small multiplication within %g s" % TIMEOUT_S]
    said = tried.stdout.decode(errors="replace").splitlines()
    if tried.returncode in (0, MACHINE, ENVIRONMENT):
        return tried.returncode, said
    last = tried.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
    return ENVIRONMENT, [*said, "torch cannot be used: %s" % last[0]]
