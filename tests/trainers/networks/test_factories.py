"""A user's own networks are built where the user named them, and nowhere else."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from command_line import robcert

from robcert.certify.errors import InvalidParameterError
from robcert.trainers.networks import factories
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

OWN = """
import pathlib

import torch
from torch import nn

pathlib.Path("imported").touch()


def make(image_shape, num_classes):
    channels, height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))


def wrong(image_shape, num_classes):
    return nn.Flatten()


def nothing(image_shape, num_classes):
    return None
"""
TINY = ("--data", "fashion-mnist-2000", "--subset", "64", "--epochs", "1")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of the user, whose import is not allowed yet."""
    (tmp_path / "own_nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factories, "_allowed", set())
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return tmp_path


def build(name: str) -> torch.nn.Module:
    return Architecture(name).build(image_shape=(1, 4, 4), num_classes=3)


def test_a_named_factory_is_built(own: Path) -> None:
    factories.allow("own_nets:make")
    before = list(sys.path)
    assert build("own_nets:make")(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("own_nets:wrong", r"gives shape \(1, 16\) for one image, not logits of \(1, 3\)"),
        ("own_nets:nothing", "returned NoneType"),
        ("own_nets:absent", "has no function 'absent'"),
        ("no_such_module:make", "no_such_module"),
    ],
)
def test_what_is_no_network_is_named(name: str, word: str, own: Path) -> None:
    factories.allow(name)
    with pytest.raises(InvalidParameterError, match=word):
        build(name)


def test_a_file_runs_nothing(own: Path) -> None:
    config = replace(TrainConfig(), architecture=Architecture("own_nets:make"))
    assert TrainConfig.from_json(config.to_json()) == config
    (own / "config.json").write_text(json.dumps(config.to_json()))
    ended = robcert("train", "standard", "--config", "config.json", *TINY, "--out", "run")
    assert ended.status == 2
    assert "the file names the architecture own_nets:make, which is code" in ended.stderr
    assert "hint: if you trust this code, pass --arch own_nets:make" in ended.stderr
    assert not (own / "imported").exists()


def test_denoising_needs_a_residual_network(own: Path) -> None:
    ended = robcert("train", "standard", "--arch", "own_nets:make", "--denoise", *TINY)
    assert ended.status == 2
    assert "not a residual network" in ended.stderr


@pytest.mark.slow
def test_a_checkpoint_of_ones_own_is_analysed_where_it_is_named_again(own: Path) -> None:
    again = ("--arch", "own_nets:make")
    ended = robcert("train", "standard", *TINY, *again, "--out", "run")
    assert ended.status == 0, ended.stderr
    (own / "imported").unlink()
    sys.modules.pop("own_nets")
    factories._allowed.clear()
    for command in (("inspect", "--model", "run"), ("export", "run")):
        refused = robcert(*command)
        assert refused.status == 2
        assert "pass --arch own_nets:make" in refused.stderr
    assert not (own / "imported").exists()
    assert robcert("export", "run", *again).status == 0
    factories._allowed.clear()
    inspected = robcert("inspect", "--model", "run", *again, "--json")
    assert inspected.status == 0, inspected.stderr
