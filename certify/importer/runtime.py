"""ONNX Runtime behind torch tensors; what is shipped is asked here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelFileError
from .runtime_session import describe_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime


@dataclass(frozen=True, slots=True)
class Runtime:
    """A session fed with batches of model inputs.

    Attributes:
        session: the runtime's.
        input_name: the input that images go to.
        dtype: its element type.
        fixed_batch: images that one call takes; None for any number. With a fixed batch each image
            is asked about alone, so that its scores never depend on its neighbours.
        batched: whether the input has a batch axis at all.
    """

    session: onnxruntime.InferenceSession
    input_name: str
    dtype: str
    fixed_batch: int | None = None
    batched: bool = True

    def __call__(self, x: Tensor, output: str) -> Tensor:
        """Tensor ``output (b, ...)`` of model inputs ``x (b, ...)``, on the device of ``x``.

        Raises:
            ModelFileError: the runtime fails on this input.
        """
        array = x.detach().cpu().numpy()
        if array.dtype != self.dtype:
            array = array.astype(self.dtype)
        array = np.ascontiguousarray(array)
        if self.fixed_batch is None:
            raw = self._run(array, output)
        else:
            raw = np.concatenate(list(self._one_by_one(array, output)))
        return torch.from_numpy(raw).to(x.device)

    def _one_by_one(self, array: np.ndarray, output: str) -> Iterator[np.ndarray]:
        """Results image by image; a larger fixed batch is filled with copies of the image."""
        for start in range(len(array)):
            copies = np.repeat(array[start : start + 1], self.fixed_batch or 1, axis=0)
            yield self._run(copies, output)[:1]

    def _run(self, array: np.ndarray, output: str) -> np.ndarray:
        feed = array if self.batched else array[0]
        try:
            (raw,) = self.session.run([output], {self.input_name: feed})
        except Exception as error:  # onnxruntime's classes share no base but Exception
            message = f"the runtime fails on a batch of {len(array)}: {describe_failure(error)}"
            raise ModelFileError(message) from error
        if not self.batched:
            raw = raw.reshape(1, -1)
        return np.asarray(raw)
