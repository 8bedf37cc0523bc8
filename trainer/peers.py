"""The processes that train one model together, as ``torchrun`` starts them; usually just this one.

Every process holds the whole model and takes its share of each batch; gradients are summed, so the
effective batch and the order of trials do not depend on how many there are. Gradients on GPUs travel by
NCCL; everything else by gloo between the hosts, the same way with and without GPUs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.contract import Exit
from trainer.errors import OutOfMemory, PeerFailed
from trainer.interrupt import Interrupt
from trainer.loading import LeftEarly
from trainer.memory import is_out_of_memory

__all__ = ["Peers", "interface_to", "join", "processes_here", "world"]

T = TypeVar("T")
_POLL_S = 0.05
_SIOCGIFADDR = 0x8915
"""Linux: the address of a network interface."""


class Peers:
    """This process among its peers. With one process every method is free and does nothing."""

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, gradients: dist.ProcessGroup | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self._gradients = gradients
        """Who sums gradients, where it is not the same as everything else."""
        self._flat = torch.empty(0)
        """Gradients on their way, end to end."""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def share(self, count: int, rank: int | None = None) -> range:
        """Which of `count` items are this process's, or another's; the first has as many as any."""
        return range(self.rank if rank is None else rank, count, self.size)

    def make_room(self, parameters: Sequence[nn.Parameter]) -> None:
        """Take the memory in which the gradients of any of these travel, before the first step: a process
        that finds none in the middle of one leaves the others waiting. Raises `OutOfMemory`.
        """
        if self.size == 1 or not parameters:
            return
        device, count = parameters[0].device, sum(p.numel() for p in parameters) + 1
        try:
            self._flat = torch.empty(count, device=device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"{device} has no memory for {count} numbers, the gradients that the processes exchange",
                hint="take a device with more memory, or lower model.n_units",
            ) from error

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum gradients in place over all processes, and return the summed loss.

        `parameters` are those that take part in the step on any process; one without a gradient here
        counts as zero, and has one until the next call. Takes no memory where `make_room` knew of them.
        """
        if self.size == 1:
            return loss
        counts = [p.numel() for p in parameters] + [1]
        if len(self._flat) < sum(counts):
            self._flat = loss.new_empty(sum(counts))
        flat = self._flat[: sum(counts)]
        *pieces, last = torch.split(flat, counts)
        for parameter, piece in zip(parameters, pieces, strict=True):
            if parameter.grad is None:
                parameter.grad = piece.zero_().view_as(parameter)
            else:
                piece.view_as(parameter).copy_(parameter.grad)
        last.copy_(loss)
        dist.all_reduce(flat, group=self._gradients)
        for parameter, piece in zip(parameters, pieces, strict=True):
            assert parameter.grad is not None
            if parameter.grad.data_ptr() != piece.data_ptr():
                parameter.grad.copy_(piece.view_as(parameter))
        return last[0].clone()  # not a view: the memory is that of the next step's gradients too

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any process; waits for all."""
        if self.size == 1:
            return flag
        value = torch.tensor(int(flag))
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def from_first(self, value: T) -> T:
        """The value that the first process has."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        result: T = box[0]
        return result

    def done_by_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process; when it fails there, all others raise `PeerFailed`."""
        value: T | None = None
        own: BaseException | None = None
        if self.is_first:
            try:
                value = work()
            except BaseException as error:  # also a wish to leave: nobody may be left waiting
                own = error
        self._stop_if_failed(own)
        return self.from_first(typing.cast("T", value))

    def _stop_if_failed(self, own: BaseException | None) -> None:
        """Raise this process's own error, or `PeerFailed` for that of another; `LeftEarly` where it only leaves."""
        failed = self.gather([] if own is None else [(str(own), getattr(own, "exit_code", Exit.FAILED))])
        if own is not None:
            raise own
        if failed and all(code == Exit.INTERRUPTED for _, code in failed):
            raise LeftEarly
        if failed:
            failed.sort(key=lambda item: item[1] == Exit.INTERRUPTED)
            raise PeerFailed(f"another process gave up: {failed[0][0]}", exit_code=failed[0][1])

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in order of rank."""
        if self.size == 1:
            return list(items)
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, list(items))
        return [item for box in boxes for item in box]

    def first_then_others(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process of each machine, then in the others, which find its caches.

        When it fails in one, that one raises its error and all others raise `PeerFailed` with its words.
        """
        if self.size == 1:
            return work()
        results: list[T] = []
        own: BaseException | None = None
        for first in (True, False):
            if first is (self.local_rank == 0):
                try:
                    results.append(work())
                except BaseException as error:  # also a wish to leave: nobody may be left waiting
                    own = error
            self._stop_if_failed(own)
        return results[0]


def world() -> tuple[int, int, int]:
    """(rank, size, local rank) as ``torchrun`` says in the environment; (0, 1, 0) without it."""
    env = os.environ
    return int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0))


def processes_here() -> int:
    """How many processes ``torchrun`` has started on this machine; all of them where it does not say."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or world()[1])


@contextlib.contextmanager
def join(device: torch.device, interrupt: Interrupt) -> Iterator[Peers]:
    """Meet the other processes. Leaves the group at the end.

    Raises `LeftEarly` when somebody asks this process to leave while the others are not there yet.
    """
    rank, size, local_rank = world()
    if size == 1:
        yield Peers()
        return
    interface = interface_to(os.environ.get("MASTER_ADDR", "127.0.0.1"))
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    gradients = _meet(device, interrupt)
    try:
        yield Peers(rank, size, local_rank, gradients)
        dist.barrier()  # nobody takes the connections down while others still speak
    finally:
        dist.destroy_process_group()


def _meet(device: torch.device, interrupt: Interrupt) -> dist.ProcessGroup | None:
    """Form the group; return who sums gradients on GPUs.

    In a thread: Python hears no signal while torch waits for a process that may never come, up to half an hour.
    """
    outcome: list[dist.ProcessGroup | BaseException | None] = []

    def meet() -> None:
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # each thread has a current device of its own
            dist.init_process_group("gloo")
            outcome.append(dist.new_group(backend="nccl") if device.type == "cuda" else None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=meet, name="rendezvous", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        if interrupt.requested and thread.is_alive():
            raise LeftEarly
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def interface_to(address: str) -> str | None:
    """Name of the network interface that leads to `address`; None where the system does not tell.

    Left to itself gloo takes the address that the host's own name stands for, which is often 127.0.1.1.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                request = struct.pack("256s", name.encode())
                with contextlib.suppress(OSError):  # an interface without an address
                    answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
                    if socket.inet_ntoa(answer[20:24]) == own:
                        return name
    except OSError:
        pass
    return None
