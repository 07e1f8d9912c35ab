"""robcert from Python: certificates, estimates and attacks of image classifiers.

```python
from robcert.certify import audit

result = audit("model.onnx", "images.npz", limit=100, profile="quick")
result.verdict.headline
result.write_report("model.html")
```

Names are loaded when they are first used, so importing this package takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import (
        RobcertWarning,
        attack,
        audit,
        bounds,
        corruption,
        linearity,
        load_images,
        load_model,
        masking_check,
        read_audit,
        smoothing_attack,
        smoothing_certify,
        smoothing_predict,
        surface,
        taylor,
        verify,
        verify_property,
    )
    from .api_options import Options
    from .core import Norm
    from .errors import RobcertError
    from .results import AnalysisResult, AuditResult, ImageRows

__all__ = [
    "AnalysisResult",
    "AuditResult",
    "ImageRows",
    "Norm",
    "Options",
    "RobcertError",
    "RobcertWarning",
    "attack",
    "audit",
    "bounds",
    "corruption",
    "linearity",
    "load_images",
    "load_model",
    "masking_check",
    "read_audit",
    "smoothing_attack",
    "smoothing_certify",
    "smoothing_predict",
    "surface",
    "taylor",
    "verify",
    "verify_property",
]

_ELSEWHERE = {
    "AnalysisResult": ".results",
    "AuditResult": ".results",
    "ImageRows": ".results",
    "Norm": ".core",
    "Options": ".api_options",
    "RobcertError": ".errors",
}


def __getattr__(name: str) -> object:
    """The public ``name``, from the module that defines it."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_ELSEWHERE.get(name, ".api"), __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
