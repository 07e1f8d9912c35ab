from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from half_space import SHAPE, HalfSpace
from onnx_models import model, node, weights
from places import FIXTURES

from robcert.certify.importer.load import LoadOptions, load_classifier
from robcert.certify.model.classifier import Classifier, ModelInfo, Runtime
from robcert.certify.numerics.sampling import NOISE_BLOCK, generator, stream_seed
from robcert.certify.smoothing import sampler as smoothing_engine
from robcert.certify.smoothing.procedures import (
    ESTIMATION,
    PREDICTION,
    SELECTION,
    Outcome,
    certification,
)
from robcert.certify.smoothing.rules import UnionBoundRule
from robcert.certify.smoothing.sampler import (
    ImageTask,
    Sampler,
    default_batch_size,
    default_workers,
)
from robcert.certify.smoothing.sequential import Schedule, geometric_analyses, half_spending

if TYPE_CHECKING:
    from pathlib import Path

CLASSIFIER = Classifier.from_module(HalfSpace(), image_shape=SHAPE, num_classes=2)
RULE = UnionBoundRule(half_spending(geometric_analyses(1500, block=64), 1e-3), (0.5, 1.0))


def image(index: int) -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(index))


def outcomes(
    indices: list[int], *, rule: UnionBoundRule = RULE, batch_size: int = 256, **options: Any
) -> dict[int, Outcome]:
    sampler = Sampler(CLASSIFIER, sigma=0.25, seed=3, batch_size=batch_size, **options)
    tasks = [ImageTask(i, image(i), certification(lambda _: rule, n_select=100)) for i in indices]
    return {
        int(index): outcome
        for finished in sampler.run(tasks)
        for index, outcome in zip(finished.indices, finished.outcomes, strict=True)
    }


def test_counts_are_those_of_the_plain_loop() -> None:
    """One image the slow way: whole noise blocks, the model, a count."""
    x = image(4)
    votes = []
    for block in range(-(-300 // NOISE_BLOCK)):
        noise = torch.empty(NOISE_BLOCK, *SHAPE)
        noise.normal_(0, 0.25, generator=generator(3, ESTIMATION, 4, block))
        votes.append(CLASSIFIER.logits(x + noise).argmax(1))
    expected = torch.bincount(torch.cat(votes)[:300], minlength=2).tolist()
    found = outcomes([4], rule=UnionBoundRule(Schedule((300,), (1e-3,))))[4]
    assert found.path.tolist() == [expected]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (7, 3), (64, 2), (100, 1), (1000, 5)])
def test_results_do_not_depend_on_batch_workers_order_or_subset(
    batch_size: int, workers: int
) -> None:
    indices = list(range(12))
    reference = outcomes(indices)
    for chosen in (indices, indices[::-1], [7]):
        found = outcomes(chosen, batch_size=batch_size, workers=workers)
        assert set(found) == set(chosen)
        for index in chosen:
            assert found[index].path.tolist() == reference[index].path.tolist()
            assert found[index].verdict == reference[index].verdict


def test_streams_never_meet_and_no_block_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[tuple[str, int, int]] = Counter()

    def spy(seed: int, stream: str, index: int, block: int, **options: Any) -> torch.Generator:
        drawn[stream, index, block] += 1
        return generator(seed, stream, index, block, **options)

    monkeypatch.setattr(smoothing_engine, "generator", spy)
    found = outcomes([0, 1, 2], batch_size=100)
    assert set(drawn.values()) == {1}
    assert {stream for stream, _, _ in drawn} == {SELECTION, ESTIMATION}
    for index, outcome in found.items():
        blocks = sum(1 for stream, i, _ in drawn if stream == ESTIMATION and i == index)
        assert blocks == -(-outcome.verdict.n_used // NOISE_BLOCK)
        assert outcome.path[-1].sum() == outcome.verdict.n_used


def test_seeds_of_all_streams_differ() -> None:
    streams = (SELECTION, ESTIMATION, PREDICTION)
    seeds = {stream_seed(0, s, i, b) for s in streams for i in range(100) for b in range(100)}
    assert len(seeds) == 30_000


def test_an_image_that_wants_little_does_not_wait_for_one_that_wants_much() -> None:
    """Both share batches: the model is asked about as often as the draws need."""
    calls = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return CLASSIFIER.logits(x)

    watched = Classifier(
        info=ModelInfo(file="", sha256="", kind="module"),
        runtime=Runtime(counted),
        num_classes=2,
        image_shape=SHAPE,
    )
    sampler = Sampler(watched, sigma=0.25, seed=3, batch_size=256)
    tasks = [ImageTask(i, image(i), certification(lambda _: RULE, n_select=100)) for i in range(40)]
    for _ in sampler.run(tasks):
        pass
    assert sampler.drawn == sum(calls)
    assert max(calls) <= 256
    assert np.mean(calls) > 0.7 * 256


def test_a_slow_model_gets_short_batches_and_a_fast_one_long_ones() -> None:
    """One noise block until the pace is known, then as many rows as take a quarter of a second."""
    for pause, least, most in ((0.15, NOISE_BLOCK, NOISE_BLOCK), (0.0, 400, 512)):
        calls: list[int] = []

        def slow(x: torch.Tensor, pause: float = pause, calls: list[int] = calls) -> torch.Tensor:
            time.sleep(pause)
            calls.append(len(x))
            return CLASSIFIER.logits(x)

        sampler = Sampler(replace(CLASSIFIER, runtime=Runtime(slow)), sigma=0.25, seed=3, workers=1)
        tasks = [
            ImageTask(i, image(i), certification(lambda _: RULE, n_select=100)) for i in range(2)
        ]
        if pause == 0.0:
            tasks += [
                ImageTask(i, image(i), certification(lambda _: RULE, n_select=100))
                for i in range(40)
            ]
        for _ in sampler.run(tasks):
            pass
        assert calls[0] <= NOISE_BLOCK
        assert least <= max(calls) <= most


def test_a_deadline_ends_the_run_and_says_what_is_known() -> None:
    endless = UnionBoundRule(half_spending(geometric_analyses(10**8, block=64), 1e-3), (5.0,))
    sampler = Sampler(
        CLASSIFIER, sigma=0.25, seed=0, batch_size=256, deadline=time.monotonic() + 0.3
    )
    far = image(0) + 3 * HalfSpace().w.view(SHAPE)
    task = ImageTask(0, far, certification(lambda _: endless, n_select=100))
    assert list(sampler.run([task])) == []
    known = sampler.unfinished[0]
    assert known is not None
    assert not known.verdict.done
    assert known.verdict.certified
    assert known.verdict.n_used in endless.schedule.analyses


def test_torch_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    outcomes([0])
    assert torch.get_num_threads() == before


def test_torch_keeps_to_one_thread_in_each_worker() -> None:
    """Else every worker would begin a pool of its own."""
    seen = []

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return CLASSIFIER.logits(x)

    classifier = replace(CLASSIFIER, runtime=Runtime(watched))
    sampler = Sampler(classifier, sigma=0.25, seed=0, workers=3)
    for _ in sampler.run([ImageTask(0, image(0), certification(lambda _: RULE, n_select=100))]):
        pass
    assert set(seen) == {1}


def test_the_runtime_for_many_calls_gives_the_same_scores_in_one_thread() -> None:
    path = FIXTURES / "fashion-gaussian.onnx"
    classifier = load_classifier(path, LoadOptions(threads=2))
    x = torch.rand(33, *classifier.image_shape, generator=torch.Generator().manual_seed(0))
    many = classifier.many_calls()
    assert many is classifier.many_calls()  # opened once
    assert many is not classifier.runtime.logits
    assert torch.equal(many(x), classifier.logits(x))
    assert default_workers(classifier) == classifier.runtime.cores == 2


def test_models_of_a_fixed_batch_are_asked_image_by_image(tmp_path: Path) -> None:
    """Four images at a time, coupled by their mean: each draw must be in a batch of its copies."""
    made = model(
        [
            node("Reshape", "x shape", "flat"),
            node("ReduceMean", "flat", "mean", axes=[0], keepdims=1),
            node("Add", "flat mean", "sum"),
            node("MatMul", "sum w", "y"),
        ],
        inputs={"x": [4, 3, 4, 4]},
        outputs={"y": [4, 5]},
        weights={"w": weights(5, 48), "shape": np.array([4, 48], np.int64)},
    )
    path = tmp_path / "fixed.onnx"
    path.write_bytes(made.SerializeToString())
    classifier = load_classifier(path, LoadOptions(threads=2))
    assert classifier.runtime.one_by_one
    x = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    rule = UnionBoundRule(Schedule((100,), (1e-3,)))
    found = []
    for batch_size, workers in ((64, 2), (7, 1)):
        sampler = Sampler(classifier, sigma=0.5, seed=3, batch_size=batch_size, workers=workers)
        tasks = [ImageTask(4, x, certification(lambda _: rule, n_select=10))]
        found += [one.outcomes[0].path.tolist() for one in sampler.run(tasks)]
    noise = torch.empty(2 * NOISE_BLOCK, 3, 4, 4)
    for block, part in enumerate(torch.split(noise, NOISE_BLOCK)):
        part.normal_(0, 0.5, generator=generator(3, ESTIMATION, 4, block))
    votes = (2 * (x + noise[:100]).flatten(1) @ torch.from_numpy(weights(5, 48))).argmax(1)
    assert found == [[torch.bincount(votes, minlength=5).tolist()]] * 2


def test_batches_shrink_with_the_image() -> None:
    small, large = (
        default_batch_size(
            Classifier(
                info=ModelInfo(file="", sha256="", kind="onnx"),
                runtime=Runtime(lambda x: x),
                num_classes=2,
                image_shape=shape,
            )
        )
        for shape in ((1, 28, 28), (3, 224, 224))
    )
    assert small == 512
    assert 4 <= large <= 8
