"""Writing proofs, in the form of :mod:`robcert.certify.proof_check.proof_file`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import h5py
import numpy as np
import torch

from robcert.certify.errors import UnsupportedOperatorError
from robcert.certify.hdf5 import UnfailingFile
from robcert.certify.proof_check import (
    FORMAT,
    FORMAT_VERSION,
    HEADER_BYTES,
    Preprocessing,
    ProofCheckError,
    digest_of,
    header,
    read_bytes,
    read_network,
)
from robcert.certify.proof_check import Network as CheckedNetwork
from robcert.certify.whole_file import output_errors

from ..network import Affine, Input, Relu

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from torch import Tensor

    from robcert.certify.core import Ball
    from robcert.certify.model import Classifier

    from ..network import Network
    from ..outcome import Arithmetic, Proof
    from ..prover import Prover

AGREEMENT = 1e-5
"""Largest relative difference of the two readings of a model, of sums in different order."""

PROBES = 2
"""Images on which they are compared."""


def require_provable(prover: Prover, classifier: Classifier, model: Path) -> None:
    """Raise unless proofs about a model can be saved.

    The checker must be able to read the model by itself, to the same ReLUs in the same order.

    Args:
        prover: what would prove them.
        classifier: the model.
        model: its file.

    Raises:
        UnsupportedOperatorError: proofs cannot be saved; the message names the operation.
    """
    info = classifier.info
    if info.kind != "onnx":
        message = "it is not an ONNX file"
        raise _unprovable(message, hint="export it: robcert export")
    try:
        how = Preprocessing.from_json(info.preprocessing)
        shape = tuple(classifier.image_shape)
        read = read_network(read_bytes(model).data, info.output_name, how, shape)
    except ProofCheckError as error:
        raise _unprovable(str(error), hint=error.hint) from error
    for node in prover.network.nodes:
        if not isinstance(node, Affine | Input | Relu):
            message = f"{node.label} is neither affine nor a ReLU"
            raise _unprovable(message)
    _require_agreement(prover.network, read, shape)


def _unprovable(reason: str, *, hint: str = "") -> UnsupportedOperatorError:
    hint = hint or "omit --save-proof"
    return UnsupportedOperatorError(f"no proof about this model can be saved: {reason}", hint=hint)


def _require_agreement(network: Network, read: CheckedNetwork, shape: tuple[int, ...]) -> None:
    """Raise unless both readings give the same ReLU inputs and scores."""
    relus = [at for at, node in enumerate(network.nodes) if isinstance(node, Relu)]
    if len(relus) != len(read.relus):
        reason = f"the prover has {len(relus)} ReLUs where the graph has {len(read.relus)}"
        raise _unprovable(reason)
    generator = torch.Generator().manual_seed(2)
    for x in torch.rand(PROBES, *shape, generator=generator, dtype=torch.float64):
        ours, theirs = network.values(x[None]), read.values(x.numpy())
        pairs = [
            (ours[network.nodes[a].parents[0]], theirs[read.nodes[b].parents[0]])
            for a, b in zip(relus, read.relus, strict=True)
        ]
        for own, other in [*pairs, (ours[network.output], theirs[read.scores])]:
            if not _close(own.flatten().numpy(), other):
                message = "the checker computes other values from the file"
                raise _unprovable(message)


def _close(own: np.ndarray, other: np.ndarray) -> bool:
    if own.shape != other.shape:
        return False
    return bool(np.abs(own - other).max() <= AGREEMENT * max(np.abs(own).max(), 1e-6))


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What is proved about one image.

    Attributes:
        index: its index in the data set.
        image: pixels ``(c, h, w)``.
        label: its class.
        ball: where no image has another one.
    """

    index: int
    image: Tensor
    label: int
    ball: Ball


class ProofWriter:
    """A proof file in work; it appears under its name, with its hash, when the block ends."""

    def __init__(
        self, path: Path, prover: Prover, classifier: Classifier, *, data_name: str = ""
    ) -> None:
        self.path, self.network, self.count = path, prover.network, 0
        self._partial = path.with_name(path.name + ".partial")
        self._classes = classifier.num_classes
        with output_errors(path):
            self._disk = UnfailingFile(self._partial)
        self._file = h5py.File(self._disk, "w", userblock_size=HEADER_BYTES)
        _describe(self._file, classifier, prover.arithmetic)
        if data_name:
            self._file.attrs["data_name"] = data_name
        self._statements = self._file.create_group("statements")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                self._finish()
        finally:
            self._disk.close()
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        """Add the hash and give the file its name."""
        with output_errors(self.path):
            self._disk.require_written()
            digest = digest_of(self._partial, skip=HEADER_BYTES)
            with self._partial.open("r+b") as file:
                file.write(header(digest))
            self._partial.replace(self.path)

    def add(self, claim: Claim, proof: Proof) -> None:
        """Write one statement.

        Raises:
            OutputError: the disk does not take it.
        """
        group = self._statements.create_group(f"{self.count:06d}")
        group.attrs.update(
            index=claim.index,
            label=claim.label,
            norm=str(claim.ball.norm),
            radius=float(claim.ball.epsilon),
        )
        group["image"] = claim.image.detach().cpu().numpy().astype(np.float32)
        relus = group.create_group("relus")
        places = [at for at, node in enumerate(self.network.nodes) if isinstance(node, Relu)]
        for number, at in enumerate(places):
            self._relu(relus.create_group(str(number)), at, proof)
        self._leaves(group.create_group("leaves"), claim.label, proof)
        self._file.flush()
        with output_errors(self.path):
            self._disk.require_written()
        self.count += 1

    def _relu(self, group: h5py.Group, at: int, proof: Proof) -> None:
        """Bounds of the input of the ReLU at ``at``."""
        (parent,) = self.network.nodes[at].parents
        none = torch.zeros(0, dtype=torch.long)
        tightened = proof.tightened.get(parent, none)
        group["tightened"] = tightened.numpy().astype(np.int32)
        group["units"] = proof.units.get(at, none).numpy().astype(np.int32)
        for name, bounds in (("lower", proof.lower), ("upper", proof.upper)):
            group[name] = bounds[parent].flatten()[tightened].double().numpy()

    def _leaves(self, group: h5py.Group, label: int, proof: Proof) -> None:
        """The regions of signs; a slope plays no part where a sign is assumed."""
        leaves = proof.leaves
        others = np.array([j for j in range(self._classes) if j != label], np.int32)
        signs = leaves.signs.numpy().astype(np.int8)
        free = signs == 0
        columns = {
            "signs": signs,
            "slopes": np.where(free, leaves.slopes.double().numpy(), 0.0),
            "multipliers": np.where(free, 0.0, leaves.multipliers.double().numpy()),
        }
        group["rival"] = others[leaves.row.numpy()]
        for name, values in columns.items():
            packed = values.size > 0
            how = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if packed else {}
            group.create_dataset(name, data=values, **how)


def _describe(file: h5py.File, classifier: Classifier, arithmetic: Arithmetic) -> None:
    """What all statements are about."""
    from importlib.metadata import version

    info = classifier.info
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        robcert_version=version("robcert"),
        model_sha256=info.sha256,
        model_file=info.file,
        output=info.output_name,
        preprocessing=info.preprocessing,
        arithmetic=str(arithmetic),
    )
