"""Whether it was memory that a program lacked, from the last words of its output: in whichever library's words.

Only the last words of a program that failed are looked at: one that caught the error and went on has not run out.
"""

from __future__ import annotations

import re
from typing import Dict, Optional

TAIL_BYTES = 64 * 1024
WORDS = 300
"""Of the line that says so, for people."""

GPU = "gpu"
MEMORY = "memory"

_SIGNS = (
    # PyTorch and whatever stands on it; CUDA's own words through any library; AMD's; TensorFlow's and JAX's.
    (GPU, rb".*OutOfMemoryError: (?:CUDA|HIP|XPU|MPS|Allocation on device).*"),
    (GPU, rb".*Error: (?:CUDA|HIP|MPS)(?: error:| backend)? out of memory.*"),
    (GPU, rb".*(?:CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory).*"),
    (GPU, rb".*(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED.*"),
    (GPU, rb".*ResourceExhaustedError:.*"),
    (GPU, rb".*OOM when allocating tensor.*"),
    (GPU, rb".*Error: RESOURCE_EXHAUSTED: .*"),
    (GPU, rb".* does not fit the memory of cuda.*"),  # the trainer in the box, after all that it could try
    # The machine's own memory.
    (MEMORY, rb".* does not fit the memory of cpu.*"),
    (MEMORY, rb".*DefaultCPUAllocator: (?:can't|not enough) .*"),
    (MEMORY, rb"(?:\[\w+\]: ?)?[\w.]*(?:ArrayMemoryError|MemoryError)(?:: .*)?$"),
    (MEMORY, rb".*std::bad_alloc.*"),
    (MEMORY, rb".*(?:DataLoader worker .* is killed by signal: Killed|(?:out of|insufficient) shared memory).*"),
    (MEMORY, rb".*Cannot allocate memory.*"),
)  # fmt: skip
_COMPILED = tuple((of, re.compile(b"^" + sign, re.MULTILINE)) for of, sign in _SIGNS)


def out_of_memory(tail: bytes) -> Optional[Dict[str, str]]:
    """What ran out (``of``) and the line that says so (``words``), from the end of a failed program's output."""
    tail = tail[-TAIL_BYTES:].replace(b"\r", b"\n")
    for of, sign in _COMPILED:
        found = sign.search(tail)
        if found:
            return {"of": of, "words": found.group(0).decode("utf-8", "replace").strip()[:WORDS]}
    return None
