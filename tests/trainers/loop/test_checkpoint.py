from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from robcert.certify.errors import InvalidParameterError, ModelFileError
from robcert.trainers.loop.checkpoint import (
    is_checkpoint,
    load_checkpoint,
    load_network,
    read_description,
    read_header,
    read_tensors,
)
from robcert.trainers.methods.gaussian import Gaussian
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import Evaluation, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path


def test_the_classifier_is_the_network_in_pixel_space(run_folder: Path) -> None:
    classifier = load_checkpoint(run_folder)
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load_network(run_folder)(x)
    torch.testing.assert_close(classifier.logits(x), expected)
    torch.testing.assert_close(classifier.twin_logits(x), expected)
    assert classifier.image_shape == (3, 8, 8)
    assert classifier.num_classes == 4
    assert classifier.info.kind == "checkpoint"
    assert classifier.info.data_name == "noise"
    assert classifier.preprocessing.mean


def test_description_says_how_to_repeat_the_run(run_folder: Path) -> None:
    description = read_description(run_folder)
    beside = json.loads((run_folder / "config.json").read_text())
    assert beside == json.loads(json.dumps(description.to_json()))
    assert description.training.architecture == Architecture("resnet-small", width=4)
    assert TrainConfig.from_json(beside["training"]) == description.training


def test_folder_and_file_are_one_checkpoint(run_folder: Path) -> None:
    file = run_folder / "checkpoint.safetensors"
    assert is_checkpoint(run_folder)
    assert is_checkpoint(file)
    assert not is_checkpoint(run_folder / "config.json")
    assert load_checkpoint(run_folder).info == load_checkpoint(file).info


def test_weights_that_do_not_fit_are_refused(run_folder: Path, tmp_path: Path) -> None:
    file = run_folder / "checkpoint.safetensors"
    tensors = read_tensors(file)
    tensors["network.0.weight"] = torch.zeros(7, 3, 3, 3)
    save_file(tensors, tmp_path / "bad.safetensors", metadata=read_header(file))
    with pytest.raises(ModelFileError, match="do not fit resnet-small"):
        load_network(tmp_path / "bad.safetensors")


def test_a_huge_architecture_asks_for_no_memory(run_folder: Path, tmp_path: Path) -> None:
    file = run_folder / "checkpoint.safetensors"
    header = json.loads(read_header(file)["robcert"])
    header["network"]["architecture"]["width"] = 10**6
    save_file(read_tensors(file), tmp_path / "big.safetensors", {"robcert": json.dumps(header)})
    with pytest.raises(ModelFileError, match="do not fit"):
        load_network(tmp_path / "big.safetensors")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"{}      "])
def test_broken_files_are_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"broken\.safetensors"):
        load_checkpoint(file)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "nothing")


def test_config_survives_json() -> None:
    config = TrainConfig(
        objective=Gaussian(0.5),
        architecture=Architecture("mlp", activation="softplus", width=12),
        evaluation=Evaluation(attack_every=3),
        subset=100,
    )
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "ten"}, r"config\.epochs: 'ten' is not of type int"),
        ({"epochs": True}, r"config\.epochs: True is not of type int"),
        ({"speed": 1}, r"config has no field 'speed'"),
        ({"method": "magic"}, r"there is no training method 'magic'"),
        ({"optimizer": {"decay": "some"}}, r"optimizer\.decay: 'some' is not one of 'all'"),
        ({"optimizer": 3}, r"config\.optimizer must be a JSON object, got int"),
        ({"evaluation": {"norm": "l7"}}, r"norm: 'l7' is not one of 'l1', 'l2', 'linf'"),
        ({"epochs": 0}, r"epochs must be at least 1, got 0"),
        ({"architecture": {"name": "cnn5"}}, r"there is no architecture named 'cnn5'"),
    ],
)
def test_config_errors_say_where(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        TrainConfig.from_json(change)
