"""Shards of an analysis, joined, are the analysis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import torch
from attacked_files import attacked as attacked_file
from attacked_files import write_inputs
from command_line import robcert
from stripes import stripes

from robcert.certify.hdf5 import CHECKSUM
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

EXAMPLES = "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained model with images."""
    folder = tmp_path_factory.mktemp("merge")
    config = TrainConfig(
        architecture=Architecture("cnn4", width=2),
        epochs=2,
        batch_size=16,
        evaluation=Evaluation(attack_every=0),
    )
    images = stripes(48)
    fit(RunPlan(config, images, stripes(16, seed=1), out=folder / "run"))
    x, y = images.batch(torch.arange(48), torch.device("cpu"))
    np.savez(folder / "images.npz", images=x.numpy(), labels=y.numpy())
    return folder


def attacked(folder: Path, out: str, *arguments: str) -> Ended:
    shared = ("--model", folder / "run", "--data", folder / "images.npz", "--limit", "7")
    work = ("--attack", "fgsm", "--save-images", "--allow-low-accuracy", "--quiet")
    return robcert("attack", *shared, *work, "--out", folder / out, *arguments)


def rows(path: Path) -> dict[str, np.ndarray]:
    """Columns and index lists of a results file, in the order of the images."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        order = np.argsort(file["data/index"][()])

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.shape and EXAMPLES not in name:
                found[name] = item[()][order] if len(item) == len(order) else item[()]

        file.visititems(visit)
    return found


def test_joined_shards_are_one_run(folder: Path) -> None:
    for part in (1, 2, 3):
        assert attacked(folder, f"{part}.h5", "--shard", f"{part}/3").status == 0
    files = [folder / f"{part}.h5" for part in (1, 2, 3)]
    ended = robcert("merge", *files, "--out", folder / "all.h5", "--json")
    assert ended.status == 0, ended.stderr
    joined = json.loads(ended.stdout)
    assert {table["rows"] for table in joined["tables"]} == {7}
    whole = attacked(folder, "whole.h5")
    finished = attacked(folder, "all.h5")
    assert whole.status == finished.status == 0
    assert finished.stdout.replace("all.h5", "whole.h5") == whole.stdout
    one, other = rows(folder / "all.h5"), rows(folder / "whole.h5")
    assert set(one) == set(other)
    assert any(CHECKSUM in name for name in one)
    for name, values in other.items():
        np.testing.assert_array_equal(one[name], values, err_msg=name)


@pytest.mark.parametrize(
    ("shard", "said"),
    [
        ("2", "--shard takes i/n such as 2/8, got '2'"),
        ("0/3", "there is no shard 0/3"),
        ("4/3", "there is no shard 4/3"),
        ("8/9", "shard 8/9 of 7 images has none"),
    ],
)
def test_a_shard_that_is_none_is_one_line(folder: Path, shard: str, said: str) -> None:
    ended = attacked(folder, "none.h5", "--shard", shard)
    assert ended.status == 2
    assert ended.stderr.startswith(f"error: {said}")
    assert not (folder / "none.h5").exists()


def test_what_cannot_be_joined_is_one_line(folder: Path) -> None:
    attacked(folder, "a.h5", "--shard", "1/2")
    attacked(folder, "b.h5", "--shard", "2/2", "--seed", "5")
    ended = robcert("merge", folder / "a.h5", folder / "b.h5", "--out", folder / "c.h5")
    assert ended.status == 2
    assert "has no attack/" in ended.stderr
    assert len(ended.stderr.splitlines()) == 2
    assert not (folder / "c.h5").exists()


def test_files_with_different_columns_are_one_line(tmp_path: Path) -> None:
    """An earlier version stored no checksums, for instance."""
    made = attacked_file(tmp_path, "--indices", "0-2")
    older = tmp_path / "older.h5"
    made.results.rename(older)
    made = attacked_file(tmp_path, "--indices", "3-5")
    with h5py.File(older, "r+") as file:
        (table,) = file["attack"].values()
        del table[CHECKSUM]
    for order in ((older, made.results), (made.results, older)):
        ended = robcert("merge", *order, "--out", tmp_path / "all.h5")
        assert ended.status == 2
        assert "one alone has the column checksum in attack/" in ended.stderr
        assert ended.stderr.count("\n") == 2
        assert not (tmp_path / "all.h5").exists()


@pytest.mark.slow
def test_gates_of_a_configuration_are_those_of_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images cannot show an accuracy of 35 %, six of which five are right can."""
    monkeypatch.chdir(tmp_path)
    made = write_inputs(tmp_path, wrong=1)
    (tmp_path / "robcert.toml").write_text('gates = ["clean_accuracy >= 35%"]')
    options = (*made.inputs, "--only", "attack", "--profile", "quick", "--allow-low-accuracy")
    for part in ("1/2", "2/2"):
        ended = robcert("audit", *options, "--shard", part, "--out", f"{part[0]}.h5")
        assert ended.status == 0, ended.stderr
        assert "note: gates are left to the same command without --shard" in ended.stderr
        assert "gates\n" not in ended.stdout
    assert robcert("merge", "1.h5", "2.h5", "--out", "all.h5").status == 0
    whole = robcert("audit", *options, "--out", "all.h5")
    assert "1 gate: all passed" in whole.stdout
    assert whole.status == 0, whole.stderr


@pytest.mark.parametrize(
    ("command", "gate"),
    [
        ("audit", ("--gate", "violations == 0")),
        ("audit", ("--fail-under", "clean_accuracy=0.1")),
        ("audit", ("--strict",)),
        ("attack", ("--fail-under", "clean_accuracy=0.1")),
        ("verify", ("--fail-under", "clean_accuracy=0.1")),
        ("masking-check", ("--strict",)),
    ],
)
def test_a_gate_that_is_typed_for_a_shard_is_refused(
    tmp_path: Path, command: str, gate: tuple[str, ...]
) -> None:
    made = write_inputs(tmp_path)
    ended = robcert(command, *made.inputs, *gate, "--shard", "1/2", "--out", made.results)
    assert ended.status == 2
    assert f"error: {gate[0]} is about all images" in ended.stderr
    assert not made.results.exists()
