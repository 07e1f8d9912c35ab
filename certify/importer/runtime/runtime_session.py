"""Opens ONNX Runtime sessions, and turns their complaints into one line."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import ModelFileError
from robcert.certify.workers import in_worker

_SOURCE = re.compile(r"/\S+\.(cc|h):\d+ (.*?\((?:[^()]|\([^()]*\))*\)( const)?( \[with .*?\])?\s)?")
"""A place in the runtime's source: file, line and signature of the function."""

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnxruntime


def open_session(
    content: bytes,
    *,
    path: Path,
    threads: int,
    cuda_device: int | None = None,
    written: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Session for a serialised model; no custom-op library, no file but the given bytes.

    Args:
        content: the model.
        path: where it came from, for messages.
        threads: threads inside one operator; 0 for one a processor core.
        cuda_device: GPU to run on; None for the CPU.
        written: file for the graph that the session executes; None if it is not wanted.

    Raises:
        ModelFileError: the runtime refuses the model.
        MemoryError: its weights do not fit.
    """
    import onnxruntime  # starts a thread, and a process with threads forks no children

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    # Threads that spin for the next call take the cores from the twin, which runs in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    if written is not None:
        options.optimized_model_filepath = str(written)
    providers: list[object] = ["CPUExecutionProvider"]
    if cuda_device is not None:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": cuda_device}))
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime raises plain RuntimeError and its own classes alike
        if out_of_memory(error):
            raise MemoryError from error
        message = f"{path}: the runtime refuses it: {describe_failure(error)}"
        raise ModelFileError(message) from error


class RuntimeSession:
    """The part of an ``onnxruntime.InferenceSession`` that robcert uses, also in a worker process.

    The threads of a session do not survive a fork, so a worker has another one, with one thread.
    A copy in another process opens the model there at its first call.

    Args:
        content: makes the serialised model.
        path: where it came from, for messages.
        threads: threads inside one operator; 0 for one per processor core.
        cuda_device: GPU to run on; None for the CPU.

    Raises:
        ModelFileError: the runtime refuses the model.
        MemoryError: its weights do not fit.
    """

    def __init__(
        self,
        content: Callable[[], bytes],
        *,
        path: Path,
        threads: int,
        cuda_device: int | None = None,
    ) -> None:
        self._content, self._path = content, path
        self._cuda_device = cuda_device
        self._one_thread = cuda_device is None and (threads or available_cores()) == 1
        self._threads = 1 if self._one_thread else threads
        self._session  # noqa: B018 - a model that the runtime refuses is told now

    def __getstate__(self) -> dict[str, Any]:
        """All but the open sessions, which cannot be copied to another process."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in {"_session", "_alone"}
        }

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return self._opened(self._threads)

    @cached_property
    def _alone(self) -> onnxruntime.InferenceSession:
        """A session whose operators use the calling thread only; on a GPU there is none else."""
        shared = self._one_thread or self._cuda_device is not None
        return self._session if shared else self._opened(1)

    def _opened(self, threads: int) -> onnxruntime.InferenceSession:
        return open_session(
            self._content(), path=self._path, threads=threads, cuda_device=self._cuda_device
        )

    @property
    def alone(self) -> OneThreadSession:
        """The same model, whose operators use the calling thread only."""
        self._alone  # noqa: B018 - opened now rather than by the first of several threads
        return OneThreadSession(self)

    def get_inputs(self) -> list[Any]:
        """The inputs of the model."""
        return list(self._session.get_inputs())

    def get_providers(self) -> list[str]:
        """Names of the runtime's execution providers."""
        return list(self._session.get_providers())

    def io_binding(self) -> Any:
        """A binding of the session to inputs and outputs in memory."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        """Compute what ``binding`` binds."""
        self._session.run_with_iobinding(binding, options)

    def run(self, outputs: Any, feed: Any, options: Any = None) -> list[Any]:
        """``outputs`` on the inputs ``feed``."""
        if in_worker():
            return self.run_alone(outputs, feed, options)
        return list(self._session.run(outputs, feed, options))

    def run_alone(self, outputs: Any, feed: Any, options: Any = None) -> list[Any]:
        """The same in the calling thread only."""
        return list(self._alone.run(outputs, feed, options))


@dataclass(frozen=True, slots=True)
class OneThreadSession:
    """A session each of whose calls uses the calling thread only.

    Attributes:
        session: the session with the model.
    """

    session: RuntimeSession

    def get_inputs(self) -> list[Any]:
        """The inputs of the model."""
        return self.session.get_inputs()

    def get_providers(self) -> list[str]:
        """Names of the runtime's execution providers."""
        return self.session.get_providers()

    def run(self, outputs: Any, feed: Any, options: Any = None) -> list[Any]:
        """``outputs`` on the inputs ``feed``."""
        return self.session.run_alone(outputs, feed, options)


def out_of_memory(error: Exception) -> bool:
    """Whether the runtime's complaint is about memory, for which it has no class of its own."""
    return "allocat" in str(error) or "bad_alloc" in str(error)


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_failure(error: Exception) -> str:
    """The runtime's complaint in one line, without codes, source paths and addresses."""
    text = str(error).split("Stacktrace:")[0]
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = _SOURCE.sub("", text)
    text = re.sub(r"Load model from .*? failed:", "", text)
    text = " ".join(text.split())
    return text[:300].rstrip(". ") or type(error).__name__
