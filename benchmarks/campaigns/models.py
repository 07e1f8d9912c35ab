"""Campaign of mutated ONNX files against the loader, the runtime and the twin."""

from __future__ import annotations

import io
import json
import os
import random
import select
import signal
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from robcert.certify.children import Ended
from robcert.certify.data import from_arrays
from robcert.certify.importer import load_classifier
from robcert.certify.importer.runtime import sandbox, trial

from . import byte_changes, model_changes
from .base_models import bases
from .campaign import Campaign, Case, address_space

if TYPE_CHECKING:
    from pathlib import Path

BYTES_SHARE = 0.35
"""Share of the files of which bytes are changed; fields are in the others."""

TIME_BUDGET = "20s"
"""Of the command: a legal loop of many rounds makes the thousands of calls of an attack slow."""


def make(seed: int, number: int, folder: Path) -> Case:
    """Model file ``number`` with images that fitted the model it was made from."""
    source = random.Random(f"{seed} models {number}")
    base = source.choice(bases())
    path = folder / "model.onnx"
    if source.random() < BYTES_SHARE:
        change = source.choice(byte_changes.CHANGES)
        content = byte_changes.changed(base.content, change, source)
    else:
        change = source.choice(list(model_changes.CHANGES))
        proto = onnx.ModelProto()
        proto.ParseFromString(base.content)
        for _ in range(source.choice((1, 1, 1, 2))):
            model_changes.CHANGES[change](proto, source, folder)
            if change in ("external data", "huge constant", "long loop", "functions"):
                break
        content = proto.SerializeToString()
    path.write_bytes(content)
    images = np.random.default_rng(number).random((8, *base.shape)).astype(np.float32)
    data = folder / "images.npz"
    np.savez(data, images=images.transpose(0, 2, 3, 1), labels=np.arange(8) % 2)
    command = ("attack", "--profile", "quick", "--allow-low-accuracy", "--threads", "1")
    command = (*command, "--time-budget", TIME_BUDGET)
    return Case(change, path, (*command, "--model", str(path), "--data", str(data)))


def load_and_use(case: Case) -> None:
    """Load the model, and compute scores and a gradient of every image."""
    sandbox.run_module = _forked
    with np.load(case.path.with_name("images.npz")) as arrays:
        images = from_arrays("campaign", arrays["images"], arrays["labels"])
    model = load_classifier(case.path, images=images)
    pixels = images.pixels(np.arange(len(images)))
    model.runtime.logits(pixels)
    if model.twin is not None:
        pixels.requires_grad_()
        torch.autograd.grad(model.twin.logits(pixels).sum(), pixels, allow_unused=True)


TRIAL_SECONDS = 8.0
"""Time limit of the trial here, in place of a minute, so that endless loops take less time."""


def _forked(_module: str, request: bytes, *, seconds: float) -> Ended:
    """The trial in a fork of this process, which is a fork itself and has no server of children."""
    whole = json.loads(request)
    whole["memory"] += address_space()
    answers, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(sender, 1)
            sys.stdin = io.StringIO(json.dumps(whole))
            trial.main()
        finally:
            os._exit(0)
    os.close(sender)
    said = b""
    while select.select([answers], [], [], min(seconds, TRIAL_SECONDS))[0]:
        if not (part := os.read(answers, 65536)):
            break
        said += part
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return Ended(None, said, b"")
    os.close(answers)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said, b"")


CAMPAIGN = Campaign("mutated ONNX files", make, load_and_use)
