"""`train` from nothing but a configuration, and what the methods do to a real network."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robcert.certify.core import Batch, Norm
from robcert.certify.errors import DataError, RobcertError, TrainingError
from robcert.certify.file_lock import FileLock
from robcert.certify.local_linearity.deviation import (
    Search,
    Sided,
    adam_rule,
    largest_deviation,
    tangent,
)
from robcert.certify.numerics.losses import Loss
from robcert.trainers.data.process_slice import ProcessSlice
from robcert.trainers.data.sources import training_images
from robcert.trainers.loop.checkpoint import load_checkpoint, load_network, read_description
from robcert.trainers.loop.evaluate import attacked_accuracy
from robcert.trainers.loop.processes import Processes
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.methods.soar import Soar
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, Optimizer, TrainConfig
from robcert.trainers.train import TrainPlan, train

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.local_linearity.deviation import Tangent

QUICK = TrainConfig(
    data="fashion-mnist-2000",
    subset=64,
    architecture=Architecture("cnn4", width=2),
    epochs=1,
    evaluation=Evaluation(images=20),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert train(TrainPlan(QUICK, out=folder)).model == folder / "model.onnx"
    return folder


def test_a_run_ends_with_an_onnx_file(finished: Path) -> None:
    assert {file.name for file in finished.iterdir()} == {
        "best.safetensors",
        "checkpoint.safetensors",
        "config.json",
        "metrics.csv",
        "model.onnx",
        "state.safetensors",
    }


def test_a_finished_run_is_not_overwritten_unasked(finished: Path) -> None:
    with pytest.raises(TrainingError, match="already contains a run"):
        train(TrainPlan(QUICK, out=finished))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copied(run: Path, folder: Path) -> Path:
    """A run folder beside foreign files."""
    shutil.copytree(run, folder)
    (folder / "epochs").mkdir()
    (folder / "epochs" / "notes.txt").write_text("mine")
    (folder / "thesis.tex").write_text("mine")
    return folder


def test_overwriting_deletes_the_files_of_the_run_alone(finished: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path / "run")
    (out / "epochs" / "epoch-0007.safetensors").write_bytes(b"old")
    train(TrainPlan(replace(QUICK, seed=1), out=out), overwrite=True)
    assert read_description(out).training.seed == 1
    assert (out / "thesis.tex").read_text() == (out / "epochs" / "notes.txt").read_text() == "mine"
    assert not (out / "epochs" / "epoch-0007.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"data": "no-such-set"}, "no-such-set"),
        ({"init_from": "{out}"}, "are in the run folder"),
        ({"init_from": "{out}/best.safetensors"}, "are in the run folder"),
        ({"init_from": "{out}/missing.safetensors"}, "no checkpoint"),
        ({"init_from": "{out}", "architecture": Architecture("cnn4", width=4)}, "do not fit"),
    ],
)
def test_a_run_is_not_deleted_before_everything_was_checked(
    finished: Path, tmp_path: Path, changed: dict[str, Any], error: str
) -> None:
    out = copied(finished, tmp_path / "run")
    before = contents(out)
    said: dict[str, Any] = {
        name: value.format(out=out) if isinstance(value, str) else value
        for name, value in changed.items()
    }
    with pytest.raises(RobcertError, match=error):
        train(TrainPlan(replace(QUICK, **said), out=out), overwrite=True)
    assert contents(out) == before


def test_a_folder_without_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TrainingError, match="no run to overwrite"):
        train(TrainPlan(QUICK, out=tmp_path), overwrite=True)
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(TrainingError, match=r"model.onnx, which the run would replace"):
        train(TrainPlan(QUICK, out=tmp_path))
    assert (tmp_path / "model.onnx").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_two_trainings_do_not_share_a_folder(finished: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path / "run")
    before, lock = contents(out), FileLock(out, TrainingError)
    with pytest.raises(TrainingError, match="another robcert is writing"):
        train(TrainPlan(QUICK, out=out), overwrite=True)
    lock.release()
    assert contents(out) == before


class Two(Processes):
    """The first of two processes, whose other one agrees to everything."""

    def largest(self, number: int) -> int:
        return number


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_several_processes_do_not_share_a_folder_with_another_training(
    finished: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path / "run")
    before, lock = contents(out), FileLock(out, TrainingError)
    plan = TrainPlan(QUICK, out=out, processes=Two(ProcessSlice(0, 2)))
    with pytest.raises(TrainingError, match="another robcert is writing"):
        train(plan, overwrite=True)
    lock.release()
    assert contents(out) == before


def test_without_the_default_data_the_bundled_images_serve(tmp_path: Path) -> None:
    config, told = replace(QUICK, data="fashion-mnist"), list[str]()

    def note(line: str) -> None:
        assert not (tmp_path / "run" / "metrics.csv").exists()
        told.append(line)

    train(TrainPlan(config, out=tmp_path / "run", data_root=tmp_path, fetch=False), on_note=note)
    assert any("trial run" in line for line in told)
    assert read_description(tmp_path / "run").training.data == "fashion-mnist-2000"


def test_data_asked_for_by_name_are_not_replaced(tmp_path: Path) -> None:
    config = replace(QUICK, data="fashion-mnist")
    plan = TrainPlan(config, tmp_path / "run", data_root=tmp_path, fetch=False, substitute=False)
    with pytest.raises(DataError):
        train(plan)


def test_soar_trains_its_first_network_itself(tmp_path: Path) -> None:
    train(TrainPlan(replace(QUICK, objective=Soar()), out=tmp_path))
    assert read_description(tmp_path).training.method == "soar"
    assert read_description(tmp_path / "first").training.method == "standard"


@pytest.mark.slow
def test_soar_takes_the_network_it_is_given(finished: Path, tmp_path: Path) -> None:
    config = replace(QUICK, objective=Soar(), init_from=str(finished))
    train(TrainPlan(config, out=tmp_path))
    assert not (tmp_path / "first").exists()


BASE = TrainConfig(
    data="fashion-mnist-2000",
    architecture=Architecture("cnn4", width=8),
    epochs=12,
    batch_size=64,
    optimizer=Optimizer(learning_rate=0.05),
)


class Family:
    """A network trained by each method on the bundled images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.split = training_images("fashion-mnist-2000")
        self.x, self.y = self.split.evaluation.batch(torch.arange(200), torch.device("cpu"))
        draws = torch.Generator().manual_seed(0)
        self.noise = 0.5 * torch.randn(self.x.shape, generator=draws)
        for name, kind in METHODS.items():
            train(TrainPlan(replace(BASE, objective=kind()), out=folder / name))

    def accuracy(self, name: str, offset: float | Tensor = 0.0) -> float:
        logits = load_checkpoint(self.folder / name).logits(self.x + offset)
        return float((logits.argmax(1) == self.y).float().mean())

    def attacked(self, name: str) -> float:
        settings = Evaluation(attack_images=200, attack_steps=10)
        network = load_network(self.folder / name)
        return attacked_accuracy(network, self.split.evaluation, settings, torch.device("cpu"))

    def gamma(self, name: str) -> float:
        tangents = self.tangents(name)
        batch = Batch(np.arange(200), self.x, self.y)
        search = Search(Norm.LINF, Sided.TWO, 20, adam_rule())
        found = largest_deviation(tangents, batch, search, epsilon=8 / 255, seed=0, stream="test")
        return float(found.value.mean())

    def slope(self, name: str) -> float:
        return float(Norm.L1.of(self.tangents(name).gradient).mean())

    def tangents(self, name: str) -> Tangent:
        return tangent(load_checkpoint(self.folder / name), self.x, self.y, Loss.CE)


@pytest.mark.slow
def test_every_method_changes_what_it_should(tmp_path: Path) -> None:
    family = Family(tmp_path)
    standard = family.accuracy("standard")
    assert standard > 0.75
    lowest = min(METHODS, key=family.accuracy)
    assert family.accuracy(lowest) > standard - 0.15, lowest
    assert family.gamma("llr") < 0.7 * family.gamma("standard")
    for name in ("gradient", "cure", "jacobian"):
        assert family.slope(name) < family.slope("standard"), name
    for name in ("adversarial", "free", "trades", "llr", "soar"):
        assert family.attacked(name) > family.attacked("standard") + 0.05, name
    for name in ("gaussian", "smoothadv"):
        noisy = family.accuracy(name, family.noise)
        assert noisy > family.accuracy("standard", family.noise) + 0.1, name
