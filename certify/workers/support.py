"""Whether rows can be computed by worker processes here."""

from __future__ import annotations

import os
import sys
import warnings


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
    if not _forks_have_gradients():
        return "in this program torch has started threads without which a fork has no gradients"
    return ""


def _forks_have_gradients() -> bool:
    """Whether a fork of this process can compute a gradient, by trying it in one."""
    import torch

    with warnings.catch_warnings():
        # newer Pythons warn of threads that a fork lacks: of the program's, it needs none
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            x = torch.ones(1, requires_grad=True)
            torch.autograd.grad(x * x, x)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
