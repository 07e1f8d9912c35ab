"""Campaign of odd values of options against every command, in this process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from robcert.certify.errors import RobcertError
from robcert.cli.main import app
from robcert.cli.main import run as run_command

from .base_models import SHAPE, linear
from .campaign import Campaign, Case, MisbehaviourError, Outcome, judged_output

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = (
    *("", " ", "0", "-1", "1", "3", "0.5", "+5", " 5 ", "5 5", "1_000", "0x10", "\uff11"),
    *("nan", "inf", "-inf", "1e30", "1e-320", "-0.0", "9" * 400, "1e999999999", "0/0", "5/3"),
    *("8/255", "1/9", "1/999999999", "0s", "1s", "-1s", "1e30h", "nans", "10%", "101%", "0-9"),
    *("9-0", "auto", "none", "all", "true", "linf", "l2", "l3", "quick", "cw", "pgd,pgd"),
    *("a,b,,", ",", "=", "a=b", "a=", "=b", "masking == clear", "x >= 1", "@", "%s%n", "{}"),
    *("robust_accuracy@8/255 >= nan", "{0}", "'", "../..", ".", "..", "missing", "missing/f.h5"),
    *("/proc/none/x", "a\nb", "\x1b[31m", "\udcff", "\u202e", "x" * 300, "x" * 5000),
    *("model.onnx", "images.npz", "results.h5", "list.txt", "empty", "pipe", "link"),
)
"""Values for any option: numbers, spans, names, places, and what is none of them."""

WRONG_COUNT = 0.05
"""Share of the options that get a value if they take none, and none if they take one."""

LEFT_OUT = {"demo", "reproduce", "datasets"}
"""Commands that take minutes whatever their options are, or would fetch images."""

UNSAFE = {"--install-completion", "--show-completion", "--ray", "--data-root", "--help", "--debug"}
"""Options that write to the home folder, reach the network, or print tracebacks on purpose."""

MODEL = ("--model", "model.onnx")
IMAGES = ("--data", "images.npz")
BUDGET = ("--time-budget", "0s", "--limit", "2", "--allow-low-accuracy", "--threads", "1")
TRAINING = ("--data", "images.npz", "--epochs", "1", "--batch-size", "4")
USUAL = {
    "inspect": (*MODEL, *IMAGES),
    "check-proof": ("results.h5", *MODEL),
    "report": ("results.h5",),
    "evidence": ("results.h5", "--out", "evidence"),
    "compare": ("results.h5", "other.h5"),
    "merge": ("results.h5", "other.h5", "--out", "all.h5"),
    "show": ("results.h5",),
    "export": ("missing",),
    "train": TRAINING,
    "init": ("--yes",),
    "doctor": (),
    "attacks": (),
    "architectures": (),
}
"""Arguments with which a command would do something; others get a model and images."""


def commands() -> dict[str, dict[str, bool]]:
    """Every command, those of groups by two words, with its options: whether each takes a value."""
    return dict(_commands((), typer.main.get_command(app)))


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, dict[str, bool]]]:
    if hasattr(command, "list_commands"):
        context = command.context_class(command)
        for name in command.list_commands(context):
            if name not in LEFT_OUT:
                yield from _commands((*words, name), command.get_command(context, name))
        return
    found = {
        name: not getattr(parameter, "is_flag", False)
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    options = (name for name in found if name.startswith("-") and name not in UNSAFE)
    yield " ".join(words), {name: found[name] for name in sorted(options)}


def arguments(source: random.Random) -> tuple[str, tuple[str, ...]]:
    """A command, and its arguments with one to three odd options."""
    known = commands()
    name = source.choice(sorted(known))
    usual = USUAL.get(name.split()[0], (*MODEL, *IMAGES, *BUDGET))
    words = [*name.split(), *usual]
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        option, takes_value = source.choice([*known[name].items(), ("--unknown", True)])
        words.append(option)
        if takes_value != (source.random() < WRONG_COUNT):
            words.append(source.choice(VALUES))
    return name, tuple(words)


def _write_inputs(work: Path) -> None:
    (work / "model.onnx").write_bytes(linear().SerializeToString())
    draws = np.random.default_rng(0).random((16, *SHAPE)).astype(np.float32)
    np.savez(work / "images.npz", images=draws.transpose(0, 2, 3, 1), labels=np.arange(16) % 2)


def _results() -> bytes:
    """A results file of an attack on the model."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _write_inputs(work)
        named = ("--model", str(work / MODEL[1]), "--data", str(work / IMAGES[1]))
        out = work / "results.h5"
        options = ("--attack", "fgsm", "--allow-low-accuracy", "--limit", "4", "--quiet")
        with contextlib.redirect_stdout(io.StringIO()):
            run_command(["attack", *named, *options, "--out", str(out)])
        return out.read_bytes()


RESULTS = _results()


def make(seed: int, number: int, folder: Path) -> Case:
    """Command line ``number``, with a model, images and files that are none in its folder."""
    source = random.Random(f"{seed} options {number}")
    work = folder / "deep" / "work"
    work.mkdir(parents=True)
    _write_inputs(work)
    for name in ("results.h5", "other.h5"):
        (work / name).write_bytes(RESULTS)
    (work / "list.txt").write_bytes(b"\xef\xbb\xbfmodel.onnx\r\n#\r\na\0b\n../model.onnx\n")
    (work / "empty").write_bytes(b"")
    os.mkfifo(work / "pipe")
    (work / "link").symlink_to("link")
    name, words = arguments(source)
    return Case(name, work, words)


def run_here(case: Case) -> None:
    """Run the command line in its folder.

    Raises:
        RobcertError: it was refused in one line.
        MisbehaviourError: it ended in another way than it may.
    """
    os.chdir(case.path)
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = run_command(case.arguments)
    outcome, message = judged_output(status, said.getvalue())
    if outcome is Outcome.REFUSED:
        raise RobcertError(message)
    if outcome is not Outcome.OK:
        raise MisbehaviourError(outcome, f"{case.arguments}: {message}")


CAMPAIGN = Campaign("odd values of options", make, run_here)
