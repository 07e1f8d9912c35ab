"""Several processes on one run: Lightning Fabric or torchrun starts them, this adds them up.

The network itself is not wrapped: objectives differentiate with respect to images, often twice,
which wrappers for distributed training do not support. Each process works on its rows of every
batch, and the gradients of the parameters are added once a step.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from robcert.certify.errors import TrainingError, require_at_least
from robcert.trainers.process_share import WHOLE, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run as one of them sees them; one alone by default.

    Attributes:
        share: this one's rows of each batch.
        on_this_machine: how many of them share this machine's processors.
        device: where this one trains; None where it was not launched.
        flags: group that flags travel through, apart from the devices' own queues.
    """

    share: Share = WHOLE
    on_this_machine: int = 1
    device: torch.device | None = None
    flags: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.share.rank == 0

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return self.share.count > 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message."""
        if not self.several or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gathered(self, part: Tensor) -> Tensor:
        """The whole batch, of which each process holds ``part``."""
        if not self.several:
            return part
        parts = [part.new_empty(part.shape) for _ in range(self.share.count)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in one of the processes; no device waits for the answer."""
        if not self.several:
            return flag
        raised = torch.tensor(int(flag))
        dist.all_reduce(raised, dist.ReduceOp.MAX, group=self.flags)
        return bool(raised)

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(flag=False)

    def part(self) -> None:
        """Part from the others; without it a process may abort as it ends."""
        if self.several:
            dist.destroy_process_group()


ALONE = Processes()
"""One process."""


def launched(devices: int, device: torch.device) -> Processes:
    """This process among those that share a run.

    Under torchrun they are running already, and ``devices`` says nothing. Else this command is
    started again until there are ``devices`` of them.

    Args:
        devices: processes on this machine, each with its own GPU where ``device`` is one.
        device: the kind of device.

    Raises:
        TrainingError: Lightning Fabric is needed and not installed, or one GPU by number is to
            serve several processes.
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
        raise TrainingError(message, hint=f"--device {device.type} gives each its own")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        message = "training in several processes needs Lightning Fabric"
        raise TrainingError(message, hint="pip install 'robcert[distributed]'") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Processes(
        Share(fabric.global_rank, fabric.world_size),
        devices,
        fabric.device,
        dist.new_group(backend="gloo"),
    )
