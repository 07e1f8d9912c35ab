"""Open models are copied to other processes as what opens them there; the scores are the same."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from onnx_models import linear, saved
from pixel_costs import COSTLY

from robcert.certify.errors import ModelFileError
from robcert.certify.importer import RunLimits
from robcert.certify.importer.runtime import runtime_session
from robcert.certify.importer.runtime.runtime_session import RuntimeSession
from robcert.certify.importer.runtime.worker_session import WorkerSession, WorkerSource

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(0).random((5, 3, 4, 4), np.float32)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Threads of each session of ONNX Runtime that is opened."""
    threads: list[int] = []
    make = onnxruntime.InferenceSession

    def counted(content: bytes, options: onnxruntime.SessionOptions, **how: object) -> object:
        threads.append(options.intra_op_num_threads)
        return make(content, options, **how)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    return threads


def session(folder: Path, threads: int) -> RuntimeSession:
    return RuntimeSession(linear().SerializeToString, path=folder, threads=threads)


def process_of(found: Any) -> int:
    return int(found._worker._process.pid)


def test_a_copy_opens_the_model_at_its_first_call(tmp_path: Path, opened: list[int]) -> None:
    here = session(tmp_path, 2)
    (expected,) = here.run(["logits"], {"x": X})
    copy = pickle.loads(pickle.dumps(here))  # noqa: S301
    assert opened == [2]
    (found,) = copy.run(["logits"], {"x": X})
    assert opened == [2, 2]
    assert found.tobytes() == expected.tobytes()
    assert [entry.name for entry in copy.get_inputs()] == ["x"]


def test_the_session_of_one_thread_is_opened_once_and_copied_with_its_owner(
    tmp_path: Path, opened: list[int]
) -> None:
    here = session(tmp_path, 2)
    alone = here.alone
    (expected,) = alone.run(["logits"], {"x": X})
    here.alone.run(["logits"], {"x": X})
    assert opened == [2, 1]
    _, copy = pickle.loads(pickle.dumps((here, alone)))  # noqa: S301
    (found,) = copy.run(["logits"], {"x": X})
    assert opened == [2, 1, 1]
    assert found.tobytes() == expected.tobytes()


def test_a_session_of_one_thread_stays_one_where_there_are_more_cores(
    tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_session, "available_cores", lambda: 1)
    sent = pickle.dumps(session(tmp_path, 0))
    monkeypatch.setattr(runtime_session, "available_cores", lambda: 8)
    copy = pickle.loads(sent)  # noqa: S301
    copy.run(["logits"], {"x": X})
    copy.alone.run(["logits"], {"x": X})
    assert opened == [1, 1]


def test_a_model_that_the_runtime_refuses_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="the runtime refuses it"):
        RuntimeSession(lambda: b"no model", path=tmp_path, threads=1)


def test_a_process_of_its_own_is_started_by_the_copy(tmp_path: Path) -> None:
    made = COSTLY["growing"]()
    path = saved(tmp_path, made)
    limits = RunLimits(seconds=30.0, memory=2**30)
    source = WorkerSource(made.SerializeToString(), path, 2, path.stat().st_size, limits)
    here, black = WorkerSession(source), np.zeros((1, 3, 4, 4), np.float32)
    copy = pickle.loads(pickle.dumps(here))  # noqa: S301
    assert copy._worker is None
    (expected,), (found,) = (one.run(["out"], {"x": black}) for one in (here, copy))
    assert found.tobytes() == expected.tobytes()
    assert process_of(copy) != process_of(here)
    copy._end()
    here._end()
