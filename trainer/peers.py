"""The processes that train one model together, as ``torchrun`` starts them; usually just this one.

Every process holds the whole model and takes its share of each batch; gradients are summed, so the
effective batch and the order of trials do not depend on how many there are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Peers"]

T = TypeVar("T")


class Peers:
    """This process among its peers. With one process every method is free and does nothing."""

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, device: torch.device | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self._device = device if device is not None else torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of `count` items are this process's."""
        return range(self.rank, count, self.size)

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum gradients in place over all processes, and return the summed loss.

        `parameters` are those that take part in the step on any process; one without a gradient here
        counts as zero.
        """
        if self.size == 1:
            return loss
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients] + [loss.reshape(1)])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [g.numel() for g in gradients] + [1])
        for gradient, piece in zip(gradients, pieces, strict=False):
            gradient.copy_(piece.view_as(gradient))
        return pieces[-1][0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any process; waits for all."""
        if self.size == 1:
            return flag
        value = torch.tensor(int(flag), device=self._device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def from_first(self, value: T) -> T:
        """The value that the first process has."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self._device)
        result: T = box[0]
        return result

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in order of rank."""
        if self.size == 1:
            return list(items)
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, list(items))
        return [item for box in boxes for item in box]

    @contextlib.contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process of each machine through, then the others: caches are built once."""
        if self.size > 1 and self.local_rank:
            dist.barrier()
        yield
        if self.size > 1 and not self.local_rank:
            dist.barrier()


def world() -> tuple[int, int, int]:
    """(rank, size, local rank) as ``torchrun`` says in the environment; (0, 1, 0) without it."""
    env = os.environ
    return int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0))


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Peers]:
    """Meet the other processes: NCCL on GPUs, gloo on CPUs. Leaves the group at the end."""
    rank, size, local_rank = world()
    if size == 1:
        yield Peers()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Peers(rank, size, local_rank, device)
        dist.barrier()  # nobody takes the connections down while others still speak
    finally:
        dist.destroy_process_group()
