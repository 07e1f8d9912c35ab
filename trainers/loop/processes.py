"""Training in several processes, started by Lightning Fabric or torchrun.

The network is not wrapped, because objectives differentiate with respect to the images, often
twice, which the wrappers for distributed training do not support. Each process works on its slice
of every batch, and the gradients of the parameters are added once per step.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from robcert.certify.errors import TrainingError, require_at_least
from robcert.trainers.data import WHOLE_BATCH, ProcessSlice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, seen by one of them; by default there is one process.

    Attributes:
        slice: the rows of each batch that this process works on.
        on_this_machine: number of processes on this machine, which share its CPU cores.
        device: device of this process; None if this process was not launched.
        flags: process group for flags, which does not wait for the devices.
    """

    slice: ProcessSlice = WHOLE_BATCH
    on_this_machine: int = 1
    device: torch.device | None = None
    flags: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.slice.rank == 0

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.slice.count > 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one communication."""
        if not self.several or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gathered(self, part: Tensor) -> Tensor:
        """The whole batch, concatenated from the ``part`` of each process."""
        if not self.several:
            return part
        parts = [part.new_empty(part.shape) for _ in range(self.slice.count)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any of the processes; does not wait for the devices."""
        return self.largest(int(flag)) > 0

    def largest(self, number: int) -> int:
        """The largest ``number`` of all processes; does not wait for the devices."""
        if not self.several:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.flags)
        return int(found)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.any(flag=False)

    def part(self) -> None:
        """Leave the process group; without this a process may abort when it ends."""
        if self.several:
            dist.destroy_process_group()


ALONE = Processes()
"""One process."""


def launched(devices: int, device: torch.device) -> Processes:
    """The processes of this run, after starting those that are missing.

    Under torchrun all processes exist already and ``devices`` is ignored. Otherwise this command is
    started again until there are ``devices`` processes.

    Args:
        devices: number of processes on this machine, each with its own GPU if ``device`` is a GPU.
        device: type of device.

    Raises:
        TrainingError: Lightning Fabric is needed and not installed, or ``device`` is one particular
            GPU and there are several processes.
    """
    require_at_least("devices", devices, 1)
    nodes = 1
    if dist.is_available() and dist.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices * nodes == 1:
        return ALONE
    if device.index is not None:
        message = f"{devices} processes cannot share the device {device}"
        raise TrainingError(message, hint=f"--device {device.type} gives each process its own GPU")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        message = "training in several processes needs Lightning Fabric"
        raise TrainingError(message, hint="pip install 'robcert[distributed]'") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Processes(
        ProcessSlice(fabric.global_rank, fabric.world_size),
        devices,
        fabric.device,
        dist.new_group(backend="gloo"),
    )
