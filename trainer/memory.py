"""Telling that a device's memory is full, in the words of everything that may say so."""

from __future__ import annotations

import torch

__all__ = ["is_out_of_memory", "release_cached"]

WORDS = (
    "can't allocate memory",  # torch's allocator for the CPU
    "CUDA error: out of memory",  # the driver itself, when torch's own allocator is not in between
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def release_cached(device: torch.device) -> None:
    """Give cached blocks back to the GPU: pieces of another size fit where the old ones did not."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
