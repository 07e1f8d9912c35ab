"""Runs that are killed and taken up again, for test_kills.py.

Children are forked from a server that has imported everything, work on one results file (real
predictions, a table with images, growth, attributes), report each append that returned, and are
killed after a random time. Half-done work is taken up by the next child.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch
from campaigns.killing import PRELOADED, contents
from places import FIXTURES
from torch import nn

from robcert.certify.auditing import clean
from robcert.certify.core import Kind
from robcert.certify.data.load import from_arrays
from robcert.certify.model.classifier import Classifier, ModelInfo
from robcert.certify.session import Session
from robcert.certify.store.column import Column, Schema
from robcert.certify.store.group import AnalysisGroup
from robcert.certify.store.store import ResultStore
from robcert.cli.main import main

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext

    from numpy.typing import NDArray

IMAGES = 240
LONGEST = 0.4
"""Kills come within this share of an undisturbed run's time, or within one that is passed."""
SIZES = {"channel": 1, "y": 4, "x": 4}
FOUND = Schema(
    "found",
    1,
    "with images",
    (
        Column("distance", "f8", Kind.ATTACKED, "distance", "pixel"),
        Column("row", "f4", Kind.MEASURED, "a row of numbers", trailing=("y",)),
        Column("adversarial", "f4", Kind.ATTACKED, "image", trailing=tuple(SIZES), images=True),
    ),
)


def session(store: ResultStore, n: int) -> Session:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(16, 10)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4), np.uint8)
    images = from_arrays("noise", pixels, np.arange(IMAGES) % 10)
    classifier = Classifier.from_module(
        nn.Sequential(nn.Flatten(), layer), image_shape=(1, 4, 4), num_classes=10
    )
    return Session(classifier, images, np.arange(n), store, batch_size=8)


def found(indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Rows of the table with images, a function of the index alone."""
    base = indices.astype(np.float64) + 0.5
    return {
        "distance": base,
        "row": base[:, None] * np.arange(1, 5),
        "adversarial": base[:, None, None, None] * np.ones((1, 1, 4, 4)),
    }


def opened(path: Path) -> ResultStore:
    info = ModelInfo(file="linear", sha256="0", kind="module")
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4), np.uint8)
    data = from_arrays("noise", pixels, np.arange(IMAGES) % 10).info
    return ResultStore.open(path, model=info, data=data)


def work(path: Path, reports: Connection | None = None) -> None:
    """Everything that a run does, from where the file stands."""
    if reports is not None:
        reports.send_bytes(b"started")
    with opened(path) as store:
        for n in (IMAGES // 2, IMAGES):
            run = session(store, n)
            clean.analyse(run)
            group = store.group(FOUND, prefix="l2", settings={"a": 1}, seed=0, sizes=SIZES)
            missing = group.missing(run.indices)
            for start in range(0, len(missing), 6):
                some = missing[start : start + 6]
                group.append(some, found(some))
                if reports is not None:
                    reports.send_bytes(some.tobytes())
            group.set_attributes(n=n, found=[n] * 10)
            group.finish(run.indices)


def unsafe_work(path: Path, reports: Connection | None = None) -> None:
    """The same with a store that counts a row before it is written."""
    append = AnalysisGroup.append

    def hasty(group: AnalysisGroup, indices: NDArray[np.int64], rows: Any) -> None:
        with group._store.file.values():
            group._place["computed"][group._rows(indices)] = 1
        time.sleep(0.02)
        append(group, indices, rows)

    AnalysisGroup.append = hasty  # type: ignore[method-assign, assignment]
    work(path, reports)


def survivors(path: Path) -> set[int]:
    """Images whose row in the table with images counts, after a check of every row that does."""
    if not path.exists():
        return set()
    with h5py.File(path) as file:
        assert file.attrs["format"] == "robcert-results"
        index = file["data/index"][()]
        name = next((name for name in ("found", "attack") if name in file), None)
        place = None if name is None else next(iter(file[name].values()), None)
        if place is None:
            return set()
        finished = place["computed"][()] == 1
        expected = found(index)
        for name in {"distance", "row"} & set(place) if "row" in place else ():
            assert np.array_equal(place[name][()][finished], expected[name][finished]), name
        return set(index[finished].tolist())


def audit(path: Path, reports: Connection | None = None) -> None:
    """The command line on a bundled model, without proofs, whose budget is a time.

    It names the results file within its folder, because an audit keeps its command line.
    """
    if reports is not None:
        reports.send_bytes(b"started")
    command = "robcert audit --profile quick --limit 5 --threads 1 --batch-size 2 --quiet --skip"
    fixture = FIXTURES / "fashion-honest.onnx"
    options = [
        "masking",
        "--skip",
        "verify",
        "--model",
        str(fixture),
        "--data",
        "fashion-mnist-2000",
        "--out",
        path.name,
    ]
    os.chdir(path.parent)
    sys.argv = [*command.split(), *options]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        main()


def kill_runs(path: Path, kills: int, target: Any, *, longest: float = LONGEST) -> list[int]:
    """Kill so many runs of ``target``, begin anew whenever one came to its end.

    Returns:
        How many rows of the table with images were there after each.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    rng = np.random.default_rng(1)
    undisturbed = path.parent / "undisturbed" / path.name
    undisturbed.parent.mkdir()
    run_to_end(context, time.sleep, 0)  # the server starts and imports
    longest *= run_to_end(context, target, undisturbed)
    reached: list[int] = []
    durable: set[int] = set()
    killed = 0
    while killed < kills:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=target, args=(path, sender))
        child.start()
        sender.close()
        assert receiver.recv_bytes() == b"started"
        child.join(float(rng.uniform(0, longest)))
        child.kill()
        child.join()
        durable |= reported(receiver)
        reached.append(len(survivors(path)))
        assert durable <= survivors(path), "a finished row is lost"
        if child.exitcode == 0:
            assert not (others := differing(path, undisturbed)), f"the rows are others: {others}"
            path.unlink()
            durable = set()
        else:
            assert child.exitcode == -9, "it ended by itself"
            killed += 1
    run_to_end(context, target, path)
    assert not (others := differing(path, undisturbed)), f"the rows are others: {others}"
    left = {p.name for p in path.parent.iterdir() if p.suffix != ".html"}
    assert left == {path.name, undisturbed.parent.name}
    return reached


def differing(one: Path, other: Path) -> list[str]:
    """Names of what differs between two results files."""
    first, second = contents(one), contents(other)
    return sorted(name for name in first | second if first.get(name) != second.get(name))


def run_to_end(context: ForkServerContext, target: Any, *arguments: object) -> float:
    """Seconds that ``target`` took in a process of its own."""
    begin = time.monotonic()
    child = context.Process(target=target, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == 0, "it did not come to its end"
    return time.monotonic() - begin


def reported(receiver: Connection) -> set[int]:
    """Images whose rows the child said were written."""
    images: set[int] = set()
    with receiver:
        while receiver.poll():
            try:
                images |= set(np.frombuffer(receiver.recv_bytes(), np.int64).tolist())
            except EOFError:
                break
    return images
