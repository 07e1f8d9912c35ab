"""ONNX Runtime with torch tensors as inputs and outputs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError, TimeLimitError

from .limits import UNLIMITED_ROWS, RunLimits
from .runtime_session import describe_failure
from .watch import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime

    from .runtime_session import OneThreadSession, RuntimeSession
    from .worker_session import WorkerSession


@dataclass(frozen=True, slots=True)
class GraphRuntime:
    """An ONNX Runtime session that takes batches of model inputs.

    Attributes:
        session: the session.
        input_name: the input that takes the images.
        dtype: its element type.
        fixed_batch: number of images per call; None for any number. With a fixed batch each image
            is computed alone, so that its scores do not depend on the other images of the batch.
        batched: whether the input has a batch axis at all.
        bound: whether inputs are passed by IO binding where they are in memory, so that a batch
            on a GPU is not copied to the CPU and back.
        limits: time of a call.
        most_rows: largest batch that fits into memory; larger ones are split.
    """

    session: RuntimeSession | OneThreadSession | onnxruntime.InferenceSession | WorkerSession
    input_name: str
    dtype: str
    fixed_batch: int | None = None
    batched: bool = True
    bound: bool = False
    limits: RunLimits = field(default_factory=RunLimits)
    most_rows: int = UNLIMITED_ROWS

    def __call__(self, x: Tensor, output: str) -> Tensor:
        """Tensor ``output (b, ...)`` of model inputs ``x (b, ...)``, on the device of ``x``.

        Raises:
            ModelFileError: the runtime fails on this input.
            TimeLimitError: it takes too long.
        """
        if len(x) > self.most_rows:
            return torch.cat([self(part, output) for part in torch.split(x, self.most_rows)])
        if self.bound and self.batched and self.fixed_batch is None:
            return self._io_bound(x.detach(), output).to(x.device)
        array = x.detach().cpu().numpy()
        if array.dtype != self.dtype:
            array = array.astype(self.dtype)
        array = np.ascontiguousarray(array)
        if self.fixed_batch is None:
            raw = self._run(array, output)
        else:
            raw = np.concatenate(list(self._one_by_one(array, output)))
        return torch.from_numpy(raw).to(x.device)

    def _io_bound(self, x: Tensor, output: str) -> Tensor:
        """The same by IO binding; only the scores are copied to the CPU."""
        x = x.to(getattr(torch, self.dtype)).contiguous()
        if x.is_cuda:  # the runtime uses another stream: the input must be complete
            torch.cuda.current_stream(x.device).synchronize()
        device, number = x.device.type, x.device.index or 0
        session: Any = self.session  # of this process: only such a one is ``bound``
        binding = session.io_binding()
        binding.bind_input(
            self.input_name, device, number, np.dtype(self.dtype), tuple(x.shape), x.data_ptr()
        )
        binding.bind_output(output)
        with self._failures(len(x)), watched(len(x), self.limits) as options:
            session.run_with_iobinding(binding, options)
        (raw,) = binding.copy_outputs_to_cpu()
        return torch.from_numpy(raw if raw.ndim > 1 else raw.reshape(-1, 1))

    def _one_by_one(self, array: np.ndarray, output: str) -> Iterator[np.ndarray]:
        """Results per image; a larger fixed batch is filled with copies of the image."""
        for start in range(len(array)):
            copies = np.repeat(array[start : start + 1], self.fixed_batch or 1, axis=0)
            yield self._run(copies, output)[:1]

    def _run(self, array: np.ndarray, output: str) -> np.ndarray:
        feed = array if self.batched else array[0]
        with self._failures(len(array)), watched(len(array), self.limits) as options:
            (raw,) = self.session.run([output], {self.input_name: feed}, options)
        if not self.batched:
            raw = raw.reshape(1, -1)
        raw = np.asarray(raw)
        return raw if raw.ndim > 1 else raw.reshape(-1, 1)  # one score an image, or one in all

    @contextmanager
    def _failures(self, rows: int) -> Iterator[None]:
        try:
            yield
        except (TimeLimitError, ModelFileError):
            raise
        except Exception as error:  # onnxruntime's classes share no base but Exception
            message = f"the runtime fails on a batch of {rows}: {describe_failure(error)}"
            raise ModelFileError(message) from error
