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
        fixed_batch: images that one call takes; None for any number.
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
            raw = np.concatenate(list(self._parts(array, output)))
        return torch.from_numpy(raw).to(x.device)

    def _parts(self, array: np.ndarray, output: str) -> Iterator[np.ndarray]:
        """Results of as many images as the model takes at a time; the last part is padded."""
        step = self.fixed_batch or 1
        for start in range(0, len(array), step):
            part = array[start : start + step]
            missing = step - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
            yield self._run(part, output)[: step - missing]

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
