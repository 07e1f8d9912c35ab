"""What the limits of a running model cost, relative to calls of ONNX Runtime without them.

    python benchmarks/limits.py [MODEL.onnx ...] [--rounds 40] [--threads 1]

Each round calls ONNX Runtime itself, robcert's runtime with its time limit (what every model gets)
and the same in a process of its own (what a model gets whose cost depends on the pixels), on one
batch, in an order that changes from round to round. Prints medians over rounds: processor seconds
of the plain calls, the ratio of the limited ones to them (processor time, which other work on the
machine changes little), the ratio of those apart (elapsed time), and the seconds that the
classification of the graph takes. By default the bundled models.

A second table is about the twin. Its calls cannot be ended, so one gradient of one image is timed
when a model is loaded that has loops, recurrent layers or slow calls: printed are medians over
rounds of the elapsed seconds of that gradient and of loading the model, and of the number of calls
of the runtime on one image that take as long as the gradient (processor time), by which slow calls
are told from others; and the ratio of a gradient of 64 images that asks for time, as every call
does, to one that does not (processor time).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch

from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.importer.graph.model_file import read_model
from robcert.certify.importer.graph.pixel_cost import PixelCost
from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.runtime.runtime import GraphRuntime
from robcert.certify.importer.runtime.runtime_session import open_session
from robcert.certify.importer.runtime.worker_session import WorkerSession, WorkerSource
from robcert.certify.importer.twin.slowness import slowness

if TYPE_CHECKING:
    from collections.abc import Callable

BATCHES = (1, 64, 512)
BUNDLED = ("fashion-honest.onnx", "fashion-masked.onnx", "fashion-gaussian.onnx")


@dataclass(frozen=True)
class Calls:
    """One batch, evaluated in three ways."""

    plain: Callable[[], object]
    limited: Callable[[], object]
    apart: Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    folder = Path(str(files("robcert.fixtures")))
    paths = options.models or [folder / name for name in BUNDLED]
    print(
        f"{'model':<28} {'batch':>5} {'plain s':>9} {'limited':>8} {'apart':>7} {'classify s':>10}"
    )
    for path in paths:
        begin = time.perf_counter()
        cost = PixelCost.of(read_model(path).model)
        classify = time.perf_counter() - begin
        note = "" if cost.fixed else f"  {cost.reason}"
        for batch in BATCHES:
            try:
                calls = calls_of(path, batch, options.threads)
            except Exception as error:
                print(f"{path.name:<28} {batch:>5} {str(error)[:60]}")
                continue
            seconds, limited, apart = compared(calls, options.rounds)
            print(
                f"{path.name:<28} {batch:>5} {seconds:>9.5f} {limited:>8.3f} {apart:>7.2f} "
                f"{classify:>10.4f}{note}"
            )
    print(f"\n{'model':<28} {'gradient s':>10} {'loading s':>9} {'calls':>6} {'asking':>7}")
    for path in paths:
        timed, loading, calls, asking = twin_limits(path, options.rounds, options.threads)
        print(f"{path.name:<28} {timed:>10.4f} {loading:>9.2f} {calls:>6.1f} {asking:>7.3f}")


def calls_of(path: Path, batch: int, threads: int) -> Calls:
    """The three ways of evaluating one batch of noise; each is called once before."""
    content, limits = path.read_bytes(), RunLimits()
    session = open_session(content, path=path, threads=threads)
    (entry,) = session.get_inputs()
    output = session.get_outputs()[0].name
    shape = [size if isinstance(size, int) else 1 for size in entry.shape[1:]]
    x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0))
    array = x.numpy().astype(np.float32)
    source = WorkerSource(content, path, threads, len(content), limits)
    here = GraphRuntime(session, entry.name, "float32", limits=limits)
    apart = GraphRuntime(WorkerSession(source), entry.name, "float32", limits=limits)
    calls = Calls(
        plain=lambda: torch.from_numpy(session.run([output], {entry.name: array})[0]),
        limited=lambda: here(x, output),
        apart=lambda: apart(x, output),
    )
    for call in (calls.plain, calls.limited, calls.apart):
        call()
    return calls


def compared(calls: Calls, rounds: int) -> tuple[float, float, float]:
    """Seconds of plain calls, and the ratios of the others to them."""
    ways = {"plain": calls.plain, "limited": calls.limited, "apart": calls.apart}
    repeat = max(1, round(0.1 / max(seconds(calls.plain, 1)[0], 1e-6)))
    order, found = list(ways), []
    for _ in range(rounds):
        found.append({name: seconds(ways[name], repeat) for name in order})
        order.append(order.pop(0))
    return (
        median(one["plain"][0] for one in found),
        median(one["limited"][0] / one["plain"][0] for one in found),
        median(one["apart"][1] / one["plain"][1] for one in found),
    )


def twin_limits(path: Path, rounds: int, threads: int) -> tuple[float, float, float, float]:
    """Seconds of the gradient and of loading, the gradient in calls, the ratio for asking."""
    torch.set_num_threads(threads)
    options = LoadOptions(threads=threads)
    model = load_classifier(path, options)
    if model.twin is None:
        return float("nan"), float("nan"), float("nan"), float("nan")
    twin, shape, limits = model.twin, model.image_shape, RunLimits()
    x = torch.rand(64, *shape, generator=torch.Generator().manual_seed(0))
    timed, loading, calls, asking = [], [], [], []
    for _ in range(rounds):
        used, elapsed = seconds(lambda: slowness(twin, shape, model.device, limits), 1)
        timed.append(elapsed)
        calls.append(used / seconds(lambda: model.logits(x[:1]), 20)[0])
        loading.append(seconds(lambda: load_classifier(path, options), 1)[1])
        with_limit = seconds(lambda: gradient(model.twin_logits, x), 3)[0]
        asking.append(with_limit / seconds(lambda: gradient(twin, x), 3)[0])
    return median(timed), median(loading), median(calls), median(asking)


def gradient(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Gradient of the sum of the scores."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def seconds(call: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Mean processor seconds and elapsed seconds of ``repeat`` calls."""
    begin, at = time.process_time(), time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.process_time() - begin) / repeat, (time.perf_counter() - at) / repeat


if __name__ == "__main__":
    main()
