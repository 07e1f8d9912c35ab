"""Checkpoints: weights in safetensors format, with everything needed to repeat the run.

The description is JSON in the header of the file, so that the hash of the file covers both;
``config.json`` beside it is a readable copy. Reading a checkpoint never imports code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from robcert.certify.errors import InvalidParameterError, ModelFileError
from robcert.certify.json_text import parsed_json
from robcert.certify.model import Classifier, ModelInfo, TrainingRecord
from robcert.certify.whole_file import write_whole
from robcert.trainers.networks import NetworkSpec, PixelNetwork
from robcert.trainers.recipe import TrainConfig, decoded

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "robcert-checkpoint"
FORMAT_VERSION = 1
WEIGHTS = "checkpoint.safetensors"
_HEADER = "robcert"


@dataclass(frozen=True, slots=True)
class Description:
    """Description of a checkpoint.

    Attributes:
        network: the network without its weights.
        training: configuration of the run.
        data: name, hash and number of the training and evaluation images.
        state: epochs done and the accuracy measured last.
        versions: versions of robcert and torch.
    """

    network: NetworkSpec
    training: TrainConfig
    data: dict[str, object]
    state: dict[str, object]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Mapping of JSON types."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "network": asdict(self.network),
            "training": self.training.to_json(),
            "data": self.data,
            "state": self.state,
            "versions": self.versions,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Description:
        """Description from the mapping of ``to_json``."""
        return cls(
            network=decoded(NetworkSpec, values.get("network"), "network"),
            training=TrainConfig.from_json(values.get("training")),
            data=_mapping(values, "data"),
            state=_mapping(values, "state"),
            versions=_mapping(values, "versions"),
        )


def _mapping(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The object ``name`` of a description; empty if it has none."""
    found = values.get(name) or {}
    if not isinstance(found, dict):
        message = f"{name} must be a JSON object, got {type(found).__name__}"
        raise InvalidParameterError(message)
    return found


def checkpoint_file(path: Path) -> Path:
    """The checkpoint file of ``path``, which is that file or a run folder."""
    return path / WEIGHTS if path.is_dir() else path


def is_checkpoint(path: Path) -> bool:
    """Whether ``path`` is a run folder or a safetensors file."""
    return checkpoint_file(path).suffix == ".safetensors" and checkpoint_file(path).is_file()


def save_checkpoint(path: Path, weights: dict[str, Tensor], description: Description) -> None:
    """Write the checkpoint file, completely or not at all."""
    header = {_HEADER: json.dumps(description.to_json(), sort_keys=True)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_whole(path, save(tensors, metadata=header))


def read_description(path: Path) -> Description:
    """Description in the checkpoint or run folder ``path``.

    Raises:
        ModelFileError: the file is unreadable, not a checkpoint, or of another format version.
    """
    file = checkpoint_file(path)
    with _opened(file) as content:
        header = content.metadata() or {}
    try:
        values = parsed_json(header.get(_HEADER, ""))
    except ValueError as error:
        message = f"{file.name} is not a robcert checkpoint: its header has no description"
        raise ModelFileError(message) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        message = f"{file.name} is not a robcert checkpoint"
        raise ModelFileError(message)
    if values.get("format_version") != FORMAT_VERSION:
        message = (
            f"{file.name} has checkpoint format {values.get('format_version')!r}, "
            f"this version reads {FORMAT_VERSION}"
        )
        raise ModelFileError(message)
    try:
        return Description.from_json(values)
    except (InvalidParameterError, ValueError) as error:
        message = f"{file.name}: {error}"
        raise ModelFileError(message) from error


def load_network(path: Path) -> PixelNetwork:
    """Trained network of the checkpoint or run folder ``path``, in evaluation mode, on the CPU.

    The network is built on the meta device and then takes the tensors of the file, so that a
    description cannot make it use more memory than the file has.

    Raises:
        ModelFileError: the file is unreadable, or its weights do not fit its description.
    """
    file = checkpoint_file(path)
    spec = read_description(path).network
    weights = read_tensors(file)
    try:
        if spec.architecture.own:  # code of the user may not work on the meta device
            network = spec.build()
        else:
            with torch.device("meta"):
                network = spec.build()
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, ValueError) as error:
        message = f"{file.name}: the weights do not fit {spec.architecture.name}: {error}"
        raise ModelFileError(" ".join(message.split())) from error
    return network.eval()


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """Classifier of the checkpoint or run folder ``path``; runtime and twin are one torch module.

    Raises:
        ModelFileError: the file is unreadable, or its weights do not fit its description.
    """
    file = checkpoint_file(path)
    description = read_description(path)
    spec = description.network
    network = load_network(path).to(device)
    channels, height, width = spec.image_shape
    return Classifier.from_module(
        network.network,
        image_shape=(channels, height, width),
        num_classes=spec.num_classes,
        info=ModelInfo(
            file=file.name,
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            kind="checkpoint",
            producer=f"robcert {description.versions.get('robcert', '')}".strip(),
            input_name="image",
            input_shape=("batch", *spec.image_shape),
            output_name="logits",
            output_shape=("batch", spec.num_classes),
            runtime=f"torch {torch.__version__}",
            data_name=str(description.data.get("name", "")),
            training=TrainingRecord.of_state(description.state),
        ),
        preprocessing=spec.preprocessing,
        device=device,
    )


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    with _opened(file) as content:
        return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118


def read_header(file: Path) -> dict[str, str]:
    """Metadata in the header of a safetensors file."""
    with _opened(file) as content:
        return dict(content.metadata() or {})


def _opened(file: Path) -> Any:
    """The open safetensors file; errors name it."""
    if not file.is_file():
        message = f"there is no checkpoint {file}"
        raise ModelFileError(message)
    try:
        return safetensors.safe_open(file, framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        message = f"{file.name} cannot be read as safetensors: {error}"
        raise ModelFileError(message) from error
