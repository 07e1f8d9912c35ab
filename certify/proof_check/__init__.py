"""A checker of proofs that shares no code with the prover.

It reads a file of `robcert verify --save-proof` and the ONNX model that the proofs are about, and
proves every statement again: with its own reader of ONNX, its own bounds and its own analysis of
rounding, in NumPy in float64. Nothing else of robcert is imported, nor torch. No number in the file
is believed: slopes and multipliers are valid whatever they are once they are clipped, bounds are
computed again, and the regions of signs must cover all signs.

From Python: ``check(Path("proof.h5"), Path("model.onnx"))``.
"""

from .check import CheckResult, Report, check
from .errors import ProofCheckError, ProofFileError, UncheckableModelError
from .model import read_network
from .model_file import ModelBytes, read_bytes
from .network import Network
from .preprocessing import Preprocessing
from .proof_file import (
    FORMAT,
    FORMAT_VERSION,
    HEADER_BYTES,
    digest_of,
    header,
    require_whole,
)

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HEADER_BYTES",
    "CheckResult",
    "ModelBytes",
    "Network",
    "Preprocessing",
    "ProofCheckError",
    "ProofFileError",
    "Report",
    "UncheckableModelError",
    "check",
    "digest_of",
    "header",
    "read_bytes",
    "read_network",
    "require_whole",
]
