"""The files of a run folder: metrics, checkpoints along the run, and the state for resuming."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from robcert.certify.errors import InvalidParameterError, TrainingError
from robcert.certify.json_text import parsed_json
from robcert.certify.whole_file import PARTIAL, write_whole
from robcert.trainers.methods import METHODS
from robcert.trainers.networks import LossScale
from robcert.trainers.recipe import TrainConfig

from .checkpoint import WEIGHTS, read_header, read_tensors
from .epoch_totals import EpochTotals

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

BEST = "best.safetensors"
STATE = "state.safetensors"
CONFIG = "config.json"
METRICS = "metrics.csv"
MODEL = "model.onnx"
EPOCHS = "epochs"
FIRST = "first"
"""Folder, inside the run folder, of the network that provides the initial weights."""

_HEADER = "robcert-state"
_DIGEST = "robcert-digest"
_OWN = (BEST, STATE, CONFIG, METRICS, MODEL, WEIGHTS)
"""Names of the files that a run writes, besides the checkpoints along it."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One row of ``metrics.csv``.

    Attributes:
        epoch: epochs done.
        learning_rate: at the end of the epoch.
        loss: mean loss over the training batches of this epoch.
        train_accuracy: accuracy on those batches, as the method perturbed them.
        accuracy: accuracy on the clean evaluation images; None if not measured.
        attacked_accuracy: accuracy on those images under a short attack; None if not measured.
        images_per_second: speed of the training steps.
        seconds: time of the epoch, evaluation included.
        measured: mean over the images of each quantity that the method measures.
    """

    epoch: int
    learning_rate: float
    loss: float
    train_accuracy: float
    accuracy: float | None
    attacked_accuracy: float | None
    images_per_second: float
    seconds: float
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Position:
    """Position of a run in its training.

    Attributes:
        epoch: finished passes over the data.
        batch: finished batches of the current pass.
        best: highest accuracy on the evaluation images so far; -1 before the first.
        best_epoch: epochs done when it was measured.
        totals: totals over the current epoch; the key in the file is ``tally``.
        records: measurements after each epoch.
        warnings: problems that did not end the run.
        scale: factor of the loss in half precision.
    """

    epoch: int = 0
    batch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    totals: EpochTotals = field(default_factory=EpochTotals)
    records: list[EpochRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scale: LossScale = field(default_factory=LossScale)

    def to_json(self) -> dict[str, Any]:
        """Mapping of JSON types; ``from_json`` restores every float bit by bit."""
        values = asdict(self)
        return {"tally": values.pop("totals"), **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Position:
        """Position from the mapping of ``to_json``."""
        records = [EpochRecord(**record) for record in values.pop("records")]
        totals, scale = EpochTotals(**values.pop("tally")), LossScale(**values.pop("scale", {}))
        for measured in (totals.measured, *(record.measured for record in records)):
            if "gamma" in measured:  # of runs before the name said how batch norm was used
                measured["gamma_nominal"] = measured.pop("gamma")
        return cls(totals=totals, records=records, scale=scale, **values)


def kept_checkpoint(folder: Path, epoch: int) -> Path:
    """File of the weights after ``epoch`` epochs, if the run keeps them."""
    return folder / EPOCHS / f"epoch-{epoch:04d}.safetensors"


def kept_checkpoints(folder: Path) -> dict[int, Path]:
    """Files of the weights kept along the run in ``folder``, by epochs done, ascending.

    Raises:
        TrainingError: the run kept none.
    """
    found = {int(path.stem[6:]): path for path in (folder / EPOCHS).glob("epoch-*.safetensors")}
    if not found:
        message = f"{folder} contains no checkpoints along a run"
        raise TrainingError(message, hint="train with --keep-every 1")
    return dict(sorted(found.items()))


def save_state(
    folder: Path, tensors: dict[str, Tensor], position: Position, training: dict[str, Any]
) -> None:
    """Write everything that resuming needs, completely or not at all."""
    text = json.dumps({"position": position.to_json(), "training": training})
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {_HEADER: text, _DIGEST: _digest(text, content)}
    write_whole(folder / STATE, save(content, metadata=header))


def load_state(folder: Path, training: dict[str, Any]) -> tuple[dict[str, Tensor], Position]:
    """Tensors and position written by ``save_state``.

    Raises:
        TrainingError: there is no run to resume, it was changed, or it had other settings.
    """
    file = folder / STATE
    if not file.is_file():
        message = f"{folder} contains no run to resume"
        raise TrainingError(message, hint="start the run without --resume")
    header, tensors = read_header(file), read_tensors(file)
    text = header.get(_HEADER, "")
    if header.get(_DIGEST, _digest(text, tensors)) != _digest(text, tensors):
        raise changed(file, "its digest is that of another state")
    asked = json.loads(json.dumps(training))
    try:
        saved = parsed_json(text)
        different = _differences(_completed(saved["training"]), _completed(asked))
        position = Position.from_json(saved["position"])
    except (AttributeError, KeyError, TypeError, ValueError, InvalidParameterError) as error:
        raise changed(file, f"its description cannot be read ({error})") from error
    if different:
        message = f"the run in {folder} has other settings: {', '.join(different)}"
        raise TrainingError(message, hint="resume with the same settings, or use another folder")
    return tensors, position


def changed(file: Path, reason: str) -> TrainingError:
    """The error for a state of training that no run has written."""
    message = f"{file} was changed or is damaged: {' '.join(reason.split())}"
    return TrainingError(message, hint="start the run again, with --overwrite")


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of a state: its description, and names, types, shapes and bits of its tensors."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _completed(training: dict[str, Any]) -> dict[str, Any]:
    """Settings of a saved run, completed by the defaults of fields added since."""
    settings = {name: value for name, value in training.items() if name != "images"}
    if settings.get("method") not in METHODS:
        return training
    whole = json.loads(json.dumps(TrainConfig.from_json(settings).to_json()))
    return {**whole, "images": training["images"]}


def write_metrics(folder: Path, records: list[EpochRecord]) -> None:
    """Write ``metrics.csv``."""
    measured = sorted({name for record in records for name in record.measured})
    text = io.StringIO()
    plain = [name for name in EpochRecord.__dataclass_fields__ if name != "measured"]
    writer = csv.DictWriter(text, [*plain, *measured], lineterminator="\n")
    writer.writeheader()
    for record in records:
        row = asdict(record)
        writer.writerow({**row.pop("measured"), **row})
    write_whole(folder / METRICS, text.getvalue().encode())


def _differences(saved: dict[str, Any], asked: dict[str, Any], where: str = "") -> list[str]:
    """Paths of the fields in which the two mappings differ."""
    paths: list[str] = []
    for name in sorted(saved.keys() | asked.keys()):
        here, there = saved.get(name), asked.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            paths += _differences(here, there, f"{where}{name}.")
        elif here != there:
            paths.append(f"{where}{name}")
    return paths


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` contains a run that can be resumed."""
    return (folder / STATE).is_file() or (folder / FIRST / STATE).is_file()


def own_files(folder: Path) -> list[Path]:
    """The files in ``folder`` that a run writes, those of its first network included."""
    names = [*_OWN, *(f"{name}{PARTIAL}" for name in _OWN)]
    found = [folder / name for name in names if (folder / name).is_file()]
    for ending in ("", PARTIAL):
        found += (folder / EPOCHS).glob(f"epoch-*.safetensors{ending}")
    return found + (own_files(folder / FIRST) if (folder / FIRST).is_dir() else [])


def delete_run(folder: Path) -> None:
    """Delete the files of a run, and its folders if nothing else is in them."""
    for path in own_files(folder):
        path.unlink()
    for inner in (folder / FIRST / EPOCHS, folder / FIRST, folder / EPOCHS):
        with contextlib.suppress(OSError):  # it holds other files, or does not exist
            inner.rmdir()
