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


def positional(shape, classes):
    return make(shape, classes)


def greedy(image_shape, num_classes, depth):
    return make(image_shape, num_classes)


def alone():
    return nn.Flatten()


def anything(**settings):
    return make(**settings)


class Network(nn.Module):
    def __init__(self, image_shape, num_classes):
        super().__init__()
        self.layers = make(image_shape, num_classes)

    def forward(self, x):
        return self.layers(x)


def broken(image_shape, num_classes):
    return nn.Linear(image_shape[0] // 0, num_classes)


class Output(Network):
    # a network with another output than logits

    def __init__(self, change, image_shape, num_classes):
        super().__init__(image_shape, num_classes)
        self.change = change

    def forward(self, x):
        return self.change(self, super().forward(x))


def pair(image_shape, num_classes):
    return Output(lambda net, z: (z, z), image_shape, num_classes)


def one_vector(image_shape, num_classes):
    return Output(lambda net, z: z.reshape(1, -1)[:, :3], image_shape, num_classes)


def only_in_evaluation(image_shape, num_classes):
    return Output(lambda net, z: [z] if net.training else z, image_shape, num_classes)


def too_small(image_shape, num_classes):
    return nn.Conv2d(image_shape[0], num_classes, 9)


def averages(image_shape, num_classes):
    channels, height, width = image_shape
    flat = nn.Linear(channels * height * width, num_classes)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.Flatten(), nn.Dropout(0.5), flat)


def branching(image_shape, num_classes):
    return Output(lambda net, z: z if z.sum() > 0 else z + 1, image_shape, num_classes)


def untrainable(image_shape, num_classes):
    return make(image_shape, num_classes).requires_grad_(False)
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
        ("own_nets:OWN", "has no function 'OWN'"),
        ("own_nets:positional", r"takes \(shape, classes\) and cannot be called as factory\(image"),
        ("own_nets:greedy", "missing a required argument: 'depth'"),
        ("own_nets:alone", r"takes \(\) and cannot be called as"),
        ("own_nets:broken", "own_nets:broken failed with ZeroDivisionError"),
        ("own_nets:pair", "gives tuple for one image"),
        ("own_nets:one_vector", r"gives shape \(1, 3\) for 2 images, not logits of \(2, 3\)"),
        ("own_nets:only_in_evaluation", "gives list for 2 images"),
        ("own_nets:too_small", "own_nets:too_small failed with RuntimeError"),
        ("bad_syntax:make", "bad_syntax:make failed with SyntaxError"),
        ("bad_import:make", "bad_import:make failed with NameError"),
    ],
)
def test_what_is_no_network_is_named(name: str, word: str, own: Path) -> None:
    (own / "bad_syntax.py").write_text("def make(:\n")
    (own / "bad_import.py").write_text("make = undefined\n")
    factories.allow(name)
    with pytest.raises(InvalidParameterError, match=word):
        build(name)


@pytest.mark.parametrize("name", ["own_nets:Network", "own_nets:anything", "own_nets:averages"])
def test_a_class_and_a_function_of_any_arguments_are_factories(name: str, own: Path) -> None:
    factories.allow(name)
    torch.manual_seed(0)
    network = build(name)
    drawn = torch.rand(2)
    assert network(torch.zeros(2, 1, 4, 4)).shape == (2, 3)
    assert network.training
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert int(layer.num_batches_tracked or 0) == 1  # by the pass above
    torch.manual_seed(0)
    build(name)
    assert torch.equal(torch.rand(2), drawn)


@pytest.mark.parametrize("factory", ["positional", "broken", "pair", "untrainable"])
def test_an_error_in_ones_own_code_is_one_line(factory: str, own: Path) -> None:
    ended = robcert("train", "standard", "--arch", f"own_nets:{factory}", *TINY)
    assert ended.status == 2
    error, *hint = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
    assert error.startswith(f"error: own_nets:{factory} ")
    assert all(line.startswith("hint: ") for line in hint)
    assert "bug in robcert" not in ended.stderr


def test_a_file_runs_nothing(own: Path) -> None:
    config = replace(TrainConfig(), architecture=Architecture("own_nets:make"))
    assert TrainConfig.from_json(config.to_json()) == config
    (own / "config.json").write_text(json.dumps(config.to_json()))
    ended = robcert("train", "standard", "--config", "config.json", *TINY, "--out", "run")
    assert ended.status == 2
    assert "the file names the architecture own_nets:make, which is code" in ended.stderr
    assert "hint: if you trust this code, pass --arch own_nets:make" in ended.stderr
    assert not (own / "imported").exists()


@pytest.mark.slow
def test_a_network_that_torch_cannot_export_keeps_its_checkpoint(own: Path) -> None:
    arch = ("--arch", "own_nets:branching")
    ended = robcert("train", "standard", *arch, *TINY, "--out", "run")
    assert ended.status == 2
    assert "error: torch cannot export the network as ONNX: " in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("hint: its checkpoint can be analysed")
    assert (own / "run" / "checkpoint.safetensors").is_file()


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
