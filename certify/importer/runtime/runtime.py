"""ONNX Runtime behind torch tensors; what is shipped is asked here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError

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
        bound: whether inputs on the session's own device are handed over where they lie, by IO
            binding: a batch that was drawn on a GPU never travels over the processor.
    """

    session: onnxruntime.InferenceSession
    input_name: str
    dtype: str
    fixed_batch: int | None = None
    batched: bool = True
    bound: bool = False

    def __call__(self, x: Tensor, output: str) -> Tensor:
        """Tensor ``output (b, ...)`` of model inputs ``x (b, ...)``, on the device of ``x``.

        Raises:
            ModelFileError: the runtime fails on this input.
        """
        if self.bound and self.batched and self.fixed_batch is None:
            return self._where_it_lies(x.detach(), output).to(x.device)
        array = x.detach().cpu().numpy()
        if array.dtype != self.dtype:
            array = array.astype(self.dtype)
        array = np.ascontiguousarray(array)
        if self.fixed_batch is None:
            raw = self._run(array, output)
        else:
            raw = np.concatenate(list(self._one_by_one(array, output)))
        return torch.from_numpy(raw).to(x.device)

    def _where_it_lies(self, x: Tensor, output: str) -> Tensor:
        """The same by IO binding; only the scores are copied to the processor."""
        x = x.to(getattr(torch, self.dtype)).contiguous()
        if x.is_cuda:  # the runtime has a stream of its own: the noise must have been drawn
            torch.cuda.current_stream(x.device).synchronize()
        device, number = x.device.type, x.device.index or 0
        binding = self.session.io_binding()
        binding.bind_input(
            self.input_name, device, number, np.dtype(self.dtype), tuple(x.shape), x.data_ptr()
        )
        binding.bind_output(output)
        with self._failures(len(x)):
            self.session.run_with_iobinding(binding)
        (raw,) = binding.copy_outputs_to_cpu()
        return torch.from_numpy(raw)

    def _one_by_one(self, array: np.ndarray, output: str) -> Iterator[np.ndarray]:
        """Results image by image; a larger fixed batch is filled with copies of the image."""
        for start in range(len(array)):
            copies = np.repeat(array[start : start + 1], self.fixed_batch or 1, axis=0)
            yield self._run(copies, output)[:1]

    def _run(self, array: np.ndarray, output: str) -> np.ndarray:
        feed = array if self.batched else array[0]
        with self._failures(len(array)):
            (raw,) = self.session.run([output], {self.input_name: feed})
        if not self.batched:
            raw = raw.reshape(1, -1)
        return np.asarray(raw)

    @contextmanager
    def _failures(self, rows: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # onnxruntime's classes share no base but Exception
            message = f"the runtime fails on a batch of {rows}: {describe_failure(error)}"
            raise ModelFileError(message) from error
