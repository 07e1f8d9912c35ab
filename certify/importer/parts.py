"""The parts of a loaded model that hold its weights, which several classifiers may share."""

from __future__ import annotations

import onnx

from .runtime.runtime_session import RuntimeSession
from .runtime.worker_session import WorkerSession
from .twin.twin import TwinModule

HEAVY_PARTS = (onnx.ModelProto, RuntimeSession, WorkerSession, TwinModule)
"""Their types."""
