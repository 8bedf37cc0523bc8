"""Telling that a device's memory is full, in the words of everything that may say so, and doing without what is short."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["host_memory", "is_out_of_memory", "release_cached"]

WORDS = (
    "can't allocate memory",  # torch's allocator for the CPU
    "CUDA error: out of memory",  # the driver itself, when torch's own allocator is not in between
    "HIP error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # the same since cuDNN 9
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


def host_memory(shape: Sequence[int], dtype: torch.dtype, *, pinned: bool) -> Tensor:
    """Uninitialised memory of the host, pinned where that is wanted and the system has some left.

    Copies to and from ordinary memory are only slower, and no reason to end a run.
    """
    if pinned:
        with contextlib.suppress(RuntimeError):
            return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
    return torch.empty(tuple(shape), dtype=dtype)


def release_cached(device: torch.device) -> None:
    """Give cached blocks back to the GPU: pieces of another size fit where the old ones did not."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
