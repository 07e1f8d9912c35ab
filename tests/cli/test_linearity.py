"""robcert linearity: several models, checkpoints along a training, pictures."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
import torch
from command_line import robcert
from stripes import stripes

from robcert.certify.local_linearity.series import Measured, save_course, series_table
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that kept the weights of three epochs and the initial ones; images beside it."""
    images = stripes(48)
    config = TrainConfig(
        architecture=Architecture("cnn4", width=2),
        epochs=3,
        batch_size=16,
        evaluation=Evaluation(attack_every=0, keep_every=1),
    )
    fit(RunPlan(config, images, stripes(16, seed=1), out=tmp_path / "run"))
    x, y = images.batch(torch.arange(48), torch.device("cpu"))
    np.savez(tmp_path / "images.npz", images=x.numpy(), labels=y.numpy())
    return tmp_path / "run"


def linearity(run: Path, *arguments: str) -> Ended:
    data = ("--data", str(run.parent / "images.npz"), "--limit", "8", "--steps", "3", "--quiet")
    return robcert("linearity", *data, *arguments)


def test_gamma_along_a_training_run(run: Path) -> None:
    picture, out = run.parent / "course.png", run.parent / "r.h5"
    ended = linearity(
        run, "--model", str(run), "--along", "--plot", str(picture), "--out", str(out)
    )
    assert ended.status == 0, ended.stderr
    assert "[estimated]" in ended.stdout
    assert [line.split()[2] for line in ended.stdout.splitlines() if line.startswith("epoch ")] == [
        *("0", "1", "2", "3")
    ]
    assert picture.read_bytes().startswith(PNG)
    assert sorted(p.name for p in run.parent.glob("*.h5")) == [
        f"r-epoch-{epoch}.h5" for epoch in (0, 1, 2, 3)
    ]


def test_gamma_along_several_training_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run twice, of which the second kept two checkpoints only."""
    other = shutil.copytree(run, run.parent / "other")
    for epoch in (1, 2):
        (other / "epochs" / f"epoch-000{epoch}.safetensors").unlink()
    picture, out = run.parent / "runs.svg", run.parent / "r.h5"
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    arguments = ("--model", str(run), "--also", str(other), "--along", "--plot", str(picture))
    ended = linearity(run, *arguments, "--out", str(out), "--json")
    assert ended.status == 0, ended.stderr
    models = json.loads(ended.stdout)["summary"]["models"]
    names = [f"run, epoch {epoch}" for epoch in range(4)]
    assert [one["name"] for one in models] == [*names, "other, epoch 0", "other, epoch 3"]
    by_name = {one["name"]: one["gamma"] for one in models}
    assert by_name["run, epoch 3"] == by_name["other, epoch 3"] != by_name["other, epoch 0"]
    assert len({one["results"] for one in models}) == 6
    drawn = picture.read_text(encoding="utf-8")
    for name in ("run", "other"):
        assert drawn.count(f"{name}, ε = 8/255, median and quartiles") == 1


def test_runs_that_cannot_be_told_apart_or_are_none(run: Path) -> None:
    twin = shutil.copytree(run, run.parent / "elsewhere" / "run")
    ended = linearity(run, "--model", str(run), "--also", str(twin), "--along")
    assert (ended.status, ended.stdout) == (2, "")
    assert "two of the training runs are called run" in ended.stderr
    file = run / "epochs" / "epoch-0001.safetensors"
    ended = linearity(run, "--model", str(run), "--also", str(file), "--along")
    assert (ended.status, ended.stdout) == (2, "")
    assert "--along needs --also to be the folder of a training run" in ended.stderr


def test_several_models_side_by_side(run: Path) -> None:
    first, last = (str(run / "epochs" / f"epoch-000{epoch}.safetensors") for epoch in (1, 3))
    picture, out = run.parent / "roots.svg", run.parent / "r.h5"
    arguments = ("--model", first, "--also", last, "--allow-low-accuracy", "--out", str(out))
    ended = linearity(run, *arguments, "--plot", str(picture), "--json", "--eps", "0.1")
    assert ended.status == 0, ended.stderr
    models = json.loads(ended.stdout)["summary"]["models"]
    assert [one["name"] for one in models] == ["epoch-0001.safetensors", "epoch-0003.safetensors"]
    assert [one["gamma"]["n"] for one in models] == [8, 8]
    assert len({one["results"] for one in models}) == 2
    assert "<svg" in picture.read_text()
    compared = robcert("compare", *(one["results"] for one in models))
    assert "gamma" in compared.stdout


def test_one_model_has_a_histogram_too(run: Path) -> None:
    picture = run.parent / "roots.pdf"
    arguments = ("--model", str(run), "--allow-low-accuracy", "--out", str(run.parent / "r.h5"))
    ended = linearity(run, *arguments, "--plot", str(picture))
    assert ended.status == 0, ended.stderr
    assert picture.read_bytes().startswith(b"%PDF")
    assert "change of the loss within ε" in ended.stdout


def test_a_step_size_means_the_papers_steps_in_every_norm(run: Path) -> None:
    arguments = ("--model", str(run), "--allow-low-accuracy", "--norm", "l2", "--json", "--out")
    out = str(run.parent / "r.h5")
    for more, rule in (((), "auto"), (("--step-size", "0.1"), "adam")):
        ended = linearity(run, *arguments, out, "--schedule", "paper", *more)
        assert ended.status == 0, ended.stderr
        (settings,) = json.loads(ended.stdout)["settings"]["groups"].values()
        assert settings["rule"] == rule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--along",), "--along needs --model"),
        (
            ("--model", "m.onnx", "--step-size", "0.1"),
            "are for the schedule paper",
        ),
        (("--plot", "x.txt"), "has no extension of a figure"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], message: str) -> None:
    ended = robcert("linearity", *arguments)
    assert ended.status == 2
    assert message in ended.stderr


def test_along_a_run_that_kept_nothing(run: Path) -> None:
    for file in (run / "epochs").iterdir():
        file.unlink()
    ended = linearity(run, "--model", str(run), "--along")
    assert ended.status == 2
    assert "--keep-every" in ended.stderr


def test_series_table_and_course_by_hand(tmp_path: Path) -> None:
    series = [
        Measured("a", "a.h5", 1, "linf", 8 / 255, np.array([0.0, 4.0])),
        Measured("b", "b.h5", 5, "linf", 8 / 255, np.array([1.0, 1.0])),
    ]
    table = series_table(series)
    assert table.rows[0] == ("a", "1", "8/255", "2", "2", "3.8", "4", "1", "2")
    assert series[0].to_json()["root_gamma"] == {"mean": 1.0, "median": 1.0}
    save_course(tmp_path / "new" / "c.png", series)
    assert (tmp_path / "new" / "c.png").read_bytes().startswith(PNG)
