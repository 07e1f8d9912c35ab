"""Draws per second of robcert's engine, of the runtime alone, and of the plain PyTorch loop."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from cohen_loop import LoopProcess, Rate, rate

from robcert.certify.importer import available_cores
from robcert.certify.smoothing import (
    ImageTask,
    Sampler,
    SmoothingSettings,
    certification,
    certification_rule,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier

BATCHES = (32, 64, 128, 256, 400, 1000)
PUBLISHED_BATCH = 400


@dataclass(frozen=True)
class Bench:
    """A model as file and as classifier, and images to measure with."""

    path: Path
    classifier: Classifier
    images: ImageSet
    indices: NDArray[np.int64]
    seed: int = 0


@dataclass(frozen=True)
class Rates:
    """Rates of each way in every round, and the best batch sizes."""

    rounds: dict[str, list[Rate]]
    runtime: str
    callers: str
    loop: str

    def median(self, way: str) -> Rate:
        found = self.rounds[way]
        return Rate(_median([r.wall for r in found]), _median([r.cpu for r in found]))

    def ratio(self, way: str) -> Rate:
        """Median over rounds of the engine's rate divided by that of ``way`` in the same round."""
        pairs = list(zip(self.rounds["engine"], self.rounds[way], strict=True))
        wall, cpu = ([getattr(e, k) / getattr(o, k) for e, o in pairs] for k in ("wall", "cpu"))
        return Rate(_median(wall), _median(cpu))


def measure(bench: Bench, sigma: float, *, rounds: int, seconds: float) -> Rates:
    """Rates at the best batch sizes; all ways alternate, in reverse order every second round."""
    loop = LoopProcess(bench.path, sigma)
    cores = available_cores()
    bare = {f"bare runtime {b}": _bare(bench, b, threads=cores) for b in BATCHES}
    callers = {f"bare runtime, a caller a core {b}": _callers(bench, b, cores) for b in BATCHES}
    plain = {f"plain loop {b}": lambda s, b=b: loop.rate(b, s) for b in BATCHES}
    best = [_best(ways, seconds / 3) for ways in (bare, callers, plain)]
    published = f"plain loop {PUBLISHED_BATCH}"
    chosen = dict.fromkeys(["engine", *best, published])
    ways = {"engine": lambda s: _engine(bench, sigma, s), **bare, **callers, **plain}
    found: dict[str, list[Rate]] = {name: [] for name in chosen}
    for number in range(rounds):
        order = list(chosen) if number % 2 == 0 else list(reversed(chosen))
        for name in order:
            found[name].append(ways[name](seconds))
    loop.close()
    return Rates(found, *best)


def _best(ways: dict[str, Callable[[float], Rate]], seconds: float) -> str:
    """The fastest of ``ways``, each tried twice."""
    tries = [{name: way(seconds).wall for name, way in ways.items()} for _ in range(2)]
    return max(ways, key=lambda name: sum(one[name] for one in tries))


def _engine(bench: Bench, sigma: float, seconds: float) -> Rate:
    """The engine on the default radius grid, with images in an endless loop."""
    rule = certification_rule(SmoothingSettings(sigma=sigma))
    chosen = bench.indices[:64]
    pixels = bench.images.pixels(chosen)
    tasks = (
        ImageTask(
            int(chosen[k % len(chosen)]),
            pixels[k % len(chosen)],
            certification(lambda _: rule, n_select=100),
        )
        for k in itertools.count()
    )
    start, cpu = time.perf_counter(), time.process_time()
    sampler = Sampler(
        bench.classifier, sigma=sigma, seed=bench.seed, deadline=time.monotonic() + seconds
    )
    for _ in sampler.run(tasks):
        pass
    return Rate(
        sampler.drawn / (time.perf_counter() - start), sampler.drawn / (time.process_time() - cpu)
    )


def _bare(bench: Bench, batch: int, *, threads: int) -> Callable[[float], Rate]:
    """The runtime alone on one prepared batch with all cores."""
    session, feed = _prepared(bench, batch, threads)

    def run() -> int:
        session.run(None, feed)
        return batch

    return lambda seconds: rate(run, seconds)


def _callers(bench: Bench, batch: int, cores: int) -> Callable[[float], Rate]:
    """The runtime alone, with one batch per core."""
    session, feed = _prepared(bench, batch, 1)

    def spin(seconds: float) -> int:
        end, done = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            session.run(None, feed)
            done += batch
        return done

    def measured(seconds: float) -> Rate:
        start, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(cores) as pool:
            done = sum(pool.map(spin, [seconds] * cores))
        return Rate(done / (time.perf_counter() - start), done / (time.process_time() - cpu))

    return measured


def _prepared(
    bench: Bench, batch: int, threads: int
) -> tuple[onnxruntime.InferenceSession, dict[str, NDArray[np.float32]]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(bench.path), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).random((batch, *bench.classifier.image_shape), dtype=np.float32)
    feed = {session.get_inputs()[0].name: x}
    session.run(None, feed)
    return session, feed


def _median(values: list[float]) -> float:
    return float(np.median(values))
