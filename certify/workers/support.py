"""Whether rows can be computed by worker processes here."""

from __future__ import annotations

import sys


def why_unavailable(device: str) -> str:
    """Why there can be no workers for a model on ``device``; empty if there can be.

    A fork cannot use a GPU that its parent has used. Nor can it compute a gradient on the CPU once
    torch has started the threads that it has for GPUs.
    """
    import torch

    if sys.platform != "linux":
        return f"worker processes need Linux, this is {sys.platform}"
    if device != "cpu":
        return f"worker processes compute on the CPU, and the model is on {device}"
    if torch.cuda.is_available():
        return "worker processes need CUDA_VISIBLE_DEVICES to be empty where there is a GPU"
    return ""
