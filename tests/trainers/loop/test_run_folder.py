"""A state of training that was edited or damaged is refused in one line and never continued."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from stripes import stripes

from robcert.certify.errors import TrainingError
from robcert.trainers.loop.checkpoint import read_header, read_tensors
from robcert.trainers.loop.loop import fit
from robcert.trainers.loop.run import RunPlan
from robcert.trainers.loop.run_folder import STATE
from robcert.trainers.networks.architectures import Architecture
from robcert.trainers.recipe.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

DESCRIPTION, DIGEST = "robcert-state", "robcert-digest"
ONE = TrainConfig(architecture=Architecture("cnn4", width=4), epochs=1, batch_size=16)
TWO = replace(ONE, epochs=2)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a run that has finished both of its epochs."""
    folder = tmp_path_factory.mktemp("run")
    fit(RunPlan(TWO, stripes(32), stripes(16, seed=1), out=folder))
    return read_header(folder / STATE), read_tensors(folder / STATE)


def resumed(folder: Path, header: dict[str, str], tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / STATE, metadata=header)
    fit(RunPlan(TWO, stripes(32), stripes(16, seed=1), out=folder), resume=True)


def edited(header: dict[str, str], change: Callable[[Any], None]) -> dict[str, str]:
    """``header`` with another description and no digest, as earlier versions wrote it."""
    content = json.loads(header[DESCRIPTION])
    change(content)
    return {DESCRIPTION: json.dumps(content)}


def test_an_unchanged_state_is_continued(state: Any, tmp_path: Path) -> None:
    resumed(tmp_path, *state)
    resumed(tmp_path, edited(state[0], lambda _: None), state[1])


def test_weights_of_other_bits_are_refused(state: Any, tmp_path: Path) -> None:
    header, tensors = state
    name = next(name for name, tensor in tensors.items() if tensor.dtype == torch.float32)
    one = tensors[name].clone()
    one.view(-1).view(torch.int32)[0] ^= 1
    with pytest.raises(TrainingError, match=r"state.safetensors was changed or is damaged"):
        resumed(tmp_path, header, tensors | {name: one})


def test_an_edited_description_is_refused_by_its_digest(state: Any, tmp_path: Path) -> None:
    header, tensors = state
    text = header[DESCRIPTION].replace('"batch": 0', '"batch": 1')
    assert text != header[DESCRIPTION]
    with pytest.raises(TrainingError, match="its digest is that of another state"):
        resumed(tmp_path, header | {DESCRIPTION: text}, tensors)


def put(content: Any, *path: str, value: object) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: put(c, "position", "epoch", value=99), "epoch 99, batch 0 is not one"),
        (lambda c: put(c, "position", "epoch", value=-1), "epoch -1, batch 0 is not one"),
        (lambda c: put(c, "position", "epoch", value="two"), "epoch two, batch 0 is not one"),
        (lambda c: put(c, "position", "batch", value=10**30), "is not one of this run"),
        (lambda c: put(c, "position", value=[]), "its description cannot be read"),
        (lambda c: put(c, "position", "more", value=1), "its description cannot be read"),
        (lambda c: put(c, "position", "records", value=[1]), "its description cannot be read"),
        (lambda c: put(c, "training", value=None), "its description cannot be read"),
        (lambda c: c.clear(), "its description cannot be read"),
    ],
)
def test_an_impossible_state_of_an_earlier_version_is_refused(
    change: Callable[[Any], None], reason: str, state: Any, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=reason) as caught:
        resumed(tmp_path, edited(state[0], change), state[1])
    assert "\n" not in str(caught.value)


def test_deep_json_is_refused(state: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="it nests too deep"):
        resumed(tmp_path, {DESCRIPTION: "[" * 200_000}, state[1])


def test_weights_of_another_network_are_refused(state: Any, tmp_path: Path) -> None:
    header, tensors = state
    fewer = {name: tensor for name, tensor in tensors.items() if not name.startswith("model.")}
    with pytest.raises(TrainingError, match="Missing key") as caught:
        resumed(tmp_path, edited(header, lambda _: None), fewer)
    assert "\n" not in str(caught.value)
