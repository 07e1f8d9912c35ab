from __future__ import annotations

import csv
import json
import math
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from stripes import stripes
from torch import Tensor, nn

from robcert.certify.core import Norm
from robcert.certify.errors import DataError, InvalidParameterError, TrainingError
from robcert.trainers.data.augmentation import Augmentation
from robcert.trainers.data.images import TrainingImages
from robcert.trainers.loop.checkpoint import (
    WEIGHTS,
    load_network,
    read_description,
    read_header,
    read_tensors,
)
from robcert.trainers.loop.epoch_totals import EpochTotals
from robcert.trainers.loop.evaluate import overfitting
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import Run, RunPlan
from robcert.trainers.loop.run_folder import EpochRecord, Position, kept_checkpoints
from robcert.trainers.methods.adversarial import Adversarial
from robcert.trainers.methods.free import Free
from robcert.trainers.methods.gaussian import Gaussian
from robcert.trainers.methods.gradient import Gradient
from robcert.trainers.methods.smoothadv import SmoothAdv
from robcert.trainers.methods.soar import Soar
from robcert.trainers.methods.standard import Standard
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.networks.precision import LossScale, Precision
from robcert.trainers.recipe.config import Evaluation, Optimizer, TrainConfig
from robcert.trainers.recipe.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.trainers.methods.objective import Losses, Objective


TINY = TrainConfig(
    architecture=Architecture("cnn4", width=4),
    epochs=3,
    batch_size=16,
    optimizer=Optimizer(learning_rate=0.05),
    augmentation=Augmentation(crop=1, flip=True, cutout=2),
    evaluation=Evaluation(attack_every=2, attack_images=32, attack_steps=2),
)


def test_a_few_epochs_learn_stripes(tmp_path: Path) -> None:
    config = replace(TINY, epochs=8, augmentation=Augmentation())
    result = fit(RunPlan(config, stripes(128), stripes(64, seed=1), out=tmp_path))
    assert result.records[-1].loss < 0.5 * result.records[0].loss
    assert result.records[-1].accuracy == 1.0
    assert result.records[-1].attacked_accuracy is not None
    assert result.records[0].attacked_accuracy is None


def test_metrics_have_a_line_an_epoch(tmp_path: Path) -> None:
    result = fit(RunPlan(TINY, stripes(64), stripes(32, seed=1), out=tmp_path))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["accuracy"]) == result.records[-1].accuracy


def test_the_initial_weights_are_kept_with_the_checkpoints_along_the_run(tmp_path: Path) -> None:
    images, evaluation = stripes(32), stripes(16, seed=1)
    keeping = replace(TINY, evaluation=replace(TINY.evaluation, keep_every=2))
    fit(RunPlan(keeping, images, evaluation, out=tmp_path / "kept"))
    kept = kept_checkpoints(tmp_path / "kept")
    assert list(kept) == [0, 2, 3]
    initial = Run(RunPlan(keeping, images, evaluation, out=tmp_path / "new")).model.state_dict()
    saved = read_tensors(kept[0])
    assert saved.keys() == initial.keys()
    assert all(torch.equal(saved[name], initial[name]) for name in saved)


def test_checkpoints_along_the_run_are_kept(tmp_path: Path) -> None:
    """Kept are every second epoch and the last; a resumed run may change that option."""
    images, evaluation = stripes(64), stripes(32, seed=1)
    keeping = replace(TINY, evaluation=replace(TINY.evaluation, keep_every=2))
    fit(RunPlan(TINY, images, evaluation, out=tmp_path / "plain"))
    with pytest.raises(TrainingError, match="no checkpoints along"):
        kept_checkpoints(tmp_path / "plain")

    def stop(_: object) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        fit(RunPlan(TINY, images, evaluation, out=tmp_path / "kept"), on_epoch=stop)
    fit(RunPlan(keeping, images, evaluation, out=tmp_path / "kept"), resume=True)
    kept = kept_checkpoints(tmp_path / "kept")
    assert list(kept) == [2, 3]
    assert read_description(kept[2]).state["epoch"] == 2
    last, weights = read_tensors(kept[3]), read_tensors(tmp_path / "plain" / WEIGHTS)
    assert all(torch.equal(last[name], weights[name]) for name in weights)


class CrashError(Exception):
    """Ends a run early, as a crash does."""


@pytest.mark.parametrize("name", ["cnn4", "resnet-small"])
def test_resume_gives_the_bits_of_an_undisturbed_run(name: str, tmp_path: Path) -> None:
    config = replace(TINY, architecture=Architecture(name, width=4), objective=Gaussian(0.1))
    images, evaluation = stripes(64), stripes(32, seed=1)
    fit(RunPlan(config, images, evaluation, out=tmp_path / "whole"))

    def stop(_: object) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), on_epoch=stop)
    fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_resume_keeps_what_an_objective_remembers(tmp_path: Path) -> None:
    config = replace(TINY, objective=Free(replays=2), epochs=6)
    images, evaluation = stripes(64), stripes(32, seed=1)
    whole = fit(RunPlan(config, images, evaluation, out=tmp_path / "whole"))
    assert [record.epoch for record in whole.records] == [2, 4, 6]

    def stop(_: object) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), on_epoch=stop)
    fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("epochs", "replays", "steps", "ends"),
    [(1, 4, 4, [1]), (6, 4, 24, [4, 6]), (4, 2, 16, [2, 4])],
)
def test_replays_take_the_steps_of_as_many_epochs(
    epochs: int,
    replays: int,
    steps: int,
    ends: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    step = Run.step

    def counted(run: Run, x: Tensor, y: Tensor, *, number: int, replay: int, of: int) -> Losses:
        made.append(number)
        return step(run, x, y, number=number, replay=replay, of=of)

    monkeypatch.setattr(Run, "step", counted)
    config = replace(TINY, objective=Free(replays=replays), epochs=epochs)
    result = fit(RunPlan(config, stripes(64), stripes(32, seed=1), out=tmp_path))
    assert [record.epoch for record in result.records] == ends
    assert len(made) == steps


def test_ctrl_c_saves_within_the_epoch(tmp_path: Path) -> None:
    images, evaluation = stripes(480), stripes(32, seed=1)
    fit(RunPlan(TINY, images, evaluation, out=tmp_path / "whole"))

    def interrupt(task: str, done: int, total: int) -> None:
        if task == "epoch 2/3" and done == 20:
            assert done < total
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(RunPlan(TINY, images, evaluation, out=tmp_path / "parts"), progress=interrupt)
    fit(RunPlan(TINY, images, evaluation, out=tmp_path / "parts"), resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def assert_same(one: Path, other: Path) -> None:
    """Weights, momentum and losses are equal bit by bit."""
    for file in ("checkpoint.safetensors", "state.safetensors"):
        ours, theirs = read_tensors(one / file), read_tensors(other / file)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
    losses = []
    for folder in (one, other):
        with (folder / "metrics.csv").open() as lines:
            losses.append([(row["loss"], row["accuracy"]) for row in csv.DictReader(lines)])
    assert losses[0] == losses[1]


def test_resume_refuses_other_settings(tmp_path: Path) -> None:
    fit(RunPlan(replace(TINY, epochs=1), stripes(32), stripes(16, seed=1), out=tmp_path))
    other = replace(TINY, epochs=1, optimizer=Optimizer(learning_rate=0.2))
    with pytest.raises(TrainingError, match=r"other settings: optimizer\.learning_rate"):
        fit(RunPlan(other, stripes(32), stripes(16, seed=1), out=tmp_path), resume=True)


def test_a_checkpoint_names_the_test_images_of_its_data(tmp_path: Path) -> None:
    evaluation = replace(stripes(16, seed=1), name="stripes:train", test_name="stripes")
    fit(RunPlan(replace(TINY, epochs=1), stripes(32), evaluation, out=tmp_path))
    assert read_description(tmp_path).data["name"] == "stripes"


def test_settings_newer_than_a_run_take_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    fit(RunPlan(replace(TINY, epochs=1), stripes(32), stripes(16, seed=1), out=tmp_path))
    header = read_header(file)
    saved = json.loads(header["robcert-state"])
    assert saved["training"].pop("precision") == "32"
    del saved["position"]["scale"]
    save_file(read_tensors(file), file, metadata={"robcert-state": json.dumps(saved)})
    fit(
        RunPlan(replace(TINY, epochs=1), stripes(32), stripes(16, seed=1), out=tmp_path),
        resume=True,
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_learns_stripes_and_resumes(precision: Precision, tmp_path: Path) -> None:
    config = replace(TINY, epochs=6, augmentation=Augmentation(), precision=precision)
    images, evaluation = stripes(128), stripes(64, seed=1)
    result = fit(RunPlan(config, images, evaluation, out=tmp_path / "whole"))
    assert result.records[-1].loss < 0.7 * result.records[0].loss
    assert load_network(tmp_path / "whole").precision == "32"

    def stop(_: object) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), on_epoch=stop)
    fit(RunPlan(config, images, evaluation, out=tmp_path / "parts"), resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_overflow_halves_the_scale_and_leaves_the_step_out() -> None:
    scale = LossScale.initial("16-mixed")
    assert not scale.accepts(finite=False)
    assert scale.value == 2.0**15
    assert all(scale.accepts(finite=True) for _ in range(2000))
    assert scale.value == 2.0**16


@pytest.mark.parametrize("objective", [Gradient(), Soar()])
def test_small_differences_need_full_precision(objective: Objective) -> None:
    with pytest.raises(InvalidParameterError, match="divides small differences of losses"):
        replace(TINY, objective=objective, precision="bf16-mixed")
    replace(TINY, objective=Gradient(scheme="exact"), precision="bf16-mixed")


def test_the_saved_position_keeps_the_keys_of_earlier_versions() -> None:
    totals = EpochTotals(images=3, loss=0.1, measured={"divergence": 1.5})
    position = Position(epoch=2, totals=totals)
    stored = json.loads(json.dumps(position.to_json()))
    assert stored["tally"]["measured"] == {"divergence": 1.5}
    assert Position.from_json(stored) == position


def test_gamma_of_earlier_versions_is_that_with_the_nominal_batchs_statistics() -> None:
    """Also in the middle of an epoch, so that its mean has one name."""
    record = EpochRecord(1, 0.1, 2.0, 0.5, 0.5, None, 10.0, 1.0, {"gamma": 0.5})
    totals = EpochTotals(images=3, loss=0.1, measured={"gamma": 1.5})
    found = Position.from_json(Position(totals=totals, records=[record]).to_json())
    assert found.totals.measured == {"gamma_nominal": 1.5}
    assert found.records[0].measured == {"gamma_nominal": 0.5}


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no run to resume"):
        fit(RunPlan(TINY, stripes(32), stripes(16, seed=1), out=tmp_path), resume=True)


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    small = TrainingImages(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.arange(4) % 2)
    with pytest.raises(DataError, match=r"\(1, 8, 8\), evaluation images \(1, 4, 4\)"):
        fit(RunPlan(TINY, stripes(32), small, out=tmp_path))


def test_a_diverging_run_ends_with_its_last_good_state(tmp_path: Path) -> None:
    config = replace(
        TINY, schedule=Schedule("constant"), optimizer=Optimizer(1e20, clip_norm=None), epochs=4
    )
    with pytest.raises(TrainingError, match="not a finite number in epoch"):
        fit(RunPlan(config, stripes(64), stripes(16, seed=1), out=tmp_path))
    if (tmp_path / "checkpoint.safetensors").is_file():
        for tensor in load_network(tmp_path).state_dict().values():
            assert tensor.isfinite().all()


def test_an_epoch_whose_last_step_diverges_is_not_saved(tmp_path: Path) -> None:
    """The loss of the only batch is finite, but the logits after its step are not."""
    config = replace(
        TINY, schedule=Schedule("constant"), optimizer=Optimizer(1e30, clip_norm=None), epochs=1
    )
    with pytest.raises(TrainingError, match="a logit is not a finite number in epoch 1"):
        fit(RunPlan(config, stripes(16), stripes(16, seed=1), out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_training_starts_from_a_checkpoint(tmp_path: Path) -> None:
    images, evaluation = stripes(64), stripes(32, seed=1)
    fit(RunPlan(TINY, images, evaluation, out=tmp_path / "first"))
    frozen = replace(
        TINY,
        epochs=1,
        init_from=str(tmp_path / "first"),
        optimizer=Optimizer(learning_rate=1e-30, weight_decay=0.0),
    )
    fit(RunPlan(frozen, images, evaluation, out=tmp_path / "second"))
    one, two = load_network(tmp_path / "first"), load_network(tmp_path / "second")
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])


def test_batch_norm_statistics_move_once_a_step(tmp_path: Path) -> None:
    config = replace(TINY, architecture=Architecture("resnet-small", width=4), objective=Standard())
    run = Run(RunPlan(config, stripes(32), stripes(16), tmp_path))
    x, y = stripes(16).batch(torch.arange(16), torch.device("cpu"))
    run.step(x, y, number=0, replay=0, of=1)
    counts = [m.num_batches_tracked for m in run.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert counts
    assert all(int(count) == 1 for count in counts if count is not None)


def test_a_collapse_under_attack_is_told() -> None:
    def record(epoch: int, attacked: float | None) -> EpochRecord:
        return EpochRecord(epoch, 0.1, 1.0, 0.9, 0.9, attacked, 1.0, 1.0)

    before = [record(1, 0.3), record(2, 0.44), record(3, None)]
    (line,) = overfitting(before, record(4, 0.02))
    assert line.startswith(
        "catastrophic overfitting: accuracy under attack fell from 44.0% to 2.0%"
    )
    assert overfitting(before, record(4, 0.25)) == []
    assert overfitting(before, record(4, None)) == []
    assert overfitting([record(1, 0.15)], record(2, 0.0)) == []


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("constant"), (1.0, 1.0, 1.0)),
        (Schedule("cosine"), (1.0, 0.5, 0.0)),
        (Schedule("onecycle", warmup=0.25), (0.0, 0.75, 0.0)),
        (Schedule("steps", milestones=(4, 7), decay=0.5), (1.0, 0.5, 0.25)),
    ],
)
def test_schedules_at_the_start_middle_and_end(
    schedule: Schedule, expected: tuple[float, float, float]
) -> None:
    got = tuple(schedule(epoch, 8) for epoch in (0.0, 4.0, 8.0))
    assert all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    ("objective", "norm", "epsilon"),
    [
        (Standard(), Norm.LINF, None),
        (Adversarial(norm=Norm.L2, epsilon=0.3), Norm.L2, 0.3),
        (Free(epsilon=0.02), Norm.LINF, 0.02),
        (SmoothAdv(epsilon=0.7), Norm.L2, 0.7),
        (Gradient(norm=Norm.L1), Norm.L1, None),
    ],
)
def test_networks_are_attacked_as_they_are_trained(
    objective: Objective, norm: Norm, epsilon: float | None
) -> None:
    settings = Evaluation().against(objective)
    assert (settings.norm, settings.epsilon) == (norm, epsilon)
    given = Evaluation(epsilon=0.1)
    assert given.against(objective) == given
