"""Numbers of a request, refused before anything is loaded."""

from __future__ import annotations

import pytest

from robcert.certify.auditing import SessionRequest
from robcert.certify.auditing.worker_choice import LEAST_LIMIT, WORKERS_PER_CORE
from robcert.certify.errors import MOST_THREADS, InvalidParameterError
from robcert.certify.importer import available_cores

MOST_WORKERS = max(LEAST_LIMIT, WORKERS_PER_CORE * available_cores())


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 10**30])
def test_a_seed_is_one_that_a_results_file_stores(seed: int) -> None:
    with pytest.raises(InvalidParameterError, match=r"^seed must be at"):
        SessionRequest(seed=seed)
    assert SessionRequest(seed=2**63 - 1).seed == 2**63 - 1
    assert SessionRequest(seed=-(2**63)).seed == -(2**63)


@pytest.mark.parametrize("threads", [0, MOST_THREADS + 1, 10**30])
def test_threads_are_as_many_as_a_machine_starts(threads: int) -> None:
    with pytest.raises(InvalidParameterError, match=r"^threads must be at"):
        SessionRequest(threads=threads)
    assert SessionRequest(threads=MOST_THREADS).threads == MOST_THREADS


@pytest.mark.parametrize("workers", [0, MOST_WORKERS + 1, 10**30])
def test_workers_are_not_many_more_than_cores(workers: int) -> None:
    with pytest.raises(InvalidParameterError, match=r"^workers must be at"):
        SessionRequest(workers=workers)
    assert SessionRequest(workers=MOST_WORKERS).workers == MOST_WORKERS
