"""The Python API: one function per command, with the same input checks as the command line.

```python
from robcert.certify import audit

result = audit("model.onnx", "images.npz", limit=100, profile="quick")
print(result.verdict.headline)
```

The functions open the session and run the analysis by the same code as the command line, so the
same seed gives the same rows in the same results file. Warnings of the command line are in
``result.warnings`` and are also issued as a :class:`RobcertWarning`.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from robcert.certify import (
    attacks,
    auditing,
    landscape,
    local_linearity,
    masking,
    radius_bounds,
    smoothing,
    verification,
)
from robcert.certify import data as image_data
from robcert.certify.attacks import AttackSettings, CorruptionSettings
from robcert.certify.auditing import AuditSettings, SessionContext, SessionRequest, open_session
from robcert.certify.data import ImageSet, from_arrays, from_dataset
from robcert.certify.gates import (
    decide_audit,
    gates_of_audit,
    require_baselines,
    require_possible,
)
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.landscape import SurfaceSettings, TaylorSettings
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.masking import MaskingSettings
from robcert.certify.model import Classifier
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import PredictionSettings, SmoothingAttackSettings, SmoothingSettings
from robcert.certify.store import ResultStore, ledger
from robcert.certify.verification import VerificationSettings, check_property

from .api_options import (
    Images,
    Model,
    Options,
    model_of,
    preprocessing,
    profile_of,
    request_of,
    run_limits,
)
from .core import silent
from .errors import DataError, InvalidParameterError, StoreError
from .results import AnalysisResult, AuditResult, audit_result
from .visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from robcert.certify.attacks import AttackSummary, CorruptionSummary
    from robcert.certify.landscape import SurfaceSummary, TaylorSummary
    from robcert.certify.local_linearity import LinearitySummary
    from robcert.certify.masking import MaskingSummary
    from robcert.certify.radius_bounds import BoundsSummary
    from robcert.certify.smoothing import (
        PredictionSummary,
        SmoothingAttackSummary,
        SmoothingSummary,
    )
    from robcert.certify.verification import (
        PropertySettings,
        PropertySummary,
        VerificationSummary,
    )

    from .core import Progress

S = TypeVar("S")


class RobcertWarning(UserWarning):
    """A limitation that a reader of the numbers must know."""


def load_images(data: Images, name: str = "arrays") -> ImageSet:
    """Images by name, from a file or folder, from arrays in memory, or of a PyTorch data set.

    Args:
        data: what `--data` takes; or ``(images, labels)``, or images alone: NumPy arrays or
            tensors, ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, uint8 from 0 to 255 or
            float from 0 to 1; or a data set whose entries are such an image ``(c, h, w)``, or one
            of Pillow, and its class.
        name: name for a set of arrays.

    Raises:
        DataError: there is no such file, folder or data set, or it has no usable images.
    """
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, str | Path):
        return image_data.load_images(data)
    if isinstance(data, Dataset):
        return from_dataset(data)
    if isinstance(data, tuple) and len(data) != 2:
        message = f"images in memory are an array or (images, labels), not {len(data)} values"
        raise DataError(message)
    images, labels = data if isinstance(data, tuple) else (data, None)
    return from_arrays(name, _array(images), None if labels is None else _array(labels))


def load_model(model: Model, data: Images | None = None, **options: Unpack[Options]) -> Classifier:
    """The model in pixel space: its runtime, and its differentiable twin where one can be built.

    Args:
        model: a file, a torch module, or a loaded model, which is returned as it is.
        data: images of the analyses to come, which determine layout and size of the model's input;
            required for a torch module.
        options: only ``preprocess``, ``output``, ``task``, ``device``, ``threads``, ``call_limit``
            and ``memory_limit`` have an effect.

    Raises:
        ModelFileError: the file is bad, unsafe or no image classifier; the module is in training
            mode or gives no class scores.
        PreprocessingError: the preprocessing contradicts the model.
        DataError: the images do not fit the model.
    """
    images = None if data is None else load_images(data)
    found = model_of(model, images, options)
    if isinstance(found, Classifier):
        return found
    how = LoadOptions(
        preprocess=preprocessing(options),
        output=options.get("output"),
        multiclass=options.get("task") is not None,
        device=options.get("device", "auto"),
        threads=options.get("threads", 0),
        limits=run_limits(options),
    )
    return load_classifier(found, how, images=images)


def audit(
    model: Model,
    data: Images | None = None,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    gates: Sequence[str] = (),
    **options: Unpack[Options],
) -> AuditResult:
    """Run all analyses of one model.

    They are inspect, attack, linearity, bounds, verify, smoothing and masking.

    Args:
        model: a file, a torch module in evaluation mode, or a loaded model.
        data: images; default those that the model names, else bundled ones that fit.
        only: run these parts only.
        skip: do not run these parts.
        gates: what the numbers must reach, as for `--gate`; the decisions are in the result.
        options: see :class:`Options`.

    Raises:
        RobcertError: the same errors as on the command line, with the same messages.
    """
    request = request_of(model, _loaded(data), options)
    settings = AuditSettings.of_profile(
        options.get("profile", "standard"),
        norm=request.norm,
        epsilon=request.distances[0],
        epsilons=request.epsilons,
        parts=auditing.selected(tuple(only), tuple(skip)),
    )
    wanted = gates_of_audit(tuple(gates), settings)
    with _opened(request, options) as context:
        store = context.session.store
        require_possible(wanted, context.session)
        require_baselines(wanted, context.session, settings)
        path = auditing.analyse(context.session, settings, command=_call("audit", model, options))
        ledger(store).require_sound()
        summary = auditing.summarise(store, path)
        decide_audit(wanted, store, summary)
        for line in summary.warnings:
            context.warn(line)
        return audit_result(store, path, tuple(context.warnings))


def attack(
    model: Model,
    data: Images | None = None,
    settings: AttackSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[AttackSummary]:
    """Attacked: each image's nearest adversarial example, and robust accuracy at each ``eps``.

    Args:
        model: a file, a torch module in evaluation mode, or a loaded model.
        data: images; default those that the model names, else bundled ones that fit.
        settings: settings to use instead of those of ``profile`` and ``norm``.
        options: see :class:`Options`.

    Raises:
        RobcertError: the same errors as on the command line, with the same messages.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or replace(AttackSettings.of_profile(profile_of(options)), norm=request.norm)
    return _analysed(
        request,
        options,
        lambda context: attacks.analyse(context.session, chosen, epsilons=request.epsilons),
        attacks.summarise,
    )


def corruption(
    model: Model,
    data: Images | None = None,
    settings: CorruptionSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[CorruptionSummary]:
    """Attacked: accuracy under random rotation with shift, or Gaussian noise.

    Arguments and errors as of :func:`attack`.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or CorruptionSettings()
    return _analysed(
        request,
        options,
        lambda context: attacks.analyse_corruption(context.session, chosen),
        attacks.summarise_corruption,
    )


def linearity(
    model: Model,
    data: Images | None = None,
    settings: LinearitySettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[LinearitySummary]:
    """Estimated: local linearity gamma(eps, x), a lower estimate by search.

    Arguments and errors as of :func:`attack`; one ``eps`` per call.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or replace(
        LinearitySettings.of_profile(profile_of(options)),
        norm=request.norm,
        epsilon=_one_epsilon(request),
    )
    return _analysed(
        request,
        options,
        lambda context: local_linearity.analyse(context.session, chosen),
        local_linearity.summarise,
    )


def bounds(
    model: Model,
    data: Images | None = None,
    settings: BoundsSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[BoundsSummary]:
    """Estimated: rho-, L-, omega-, gamma- and curvature bounds by extreme-value fits.

    Arguments and errors as of :func:`attack`; one ``eps`` per call.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or replace(
        BoundsSettings.of_profile(profile_of(options)),
        norm=request.norm,
        epsilon=_one_epsilon(request),
    )
    return _analysed(
        request,
        options,
        lambda context: radius_bounds.analyse(context.session, chosen),
        radius_bounds.summarise,
    )


def verify(
    model: Model,
    data: Images | None = None,
    settings: VerificationSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[VerificationSummary]:
    """Certified: largest radius of each image at which no input has another class, proven.

    It holds for the model itself, without probability. ``summary.robust_accuracy`` is the bracket
    at each ``eps``, from certified to attacked. ``profile`` sets the time per image.

    Arguments and errors as of :func:`attack`.

    Raises:
        ContradictionError: an adversarial image lies within a certified radius.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or replace(
        VerificationSettings.of_profile(profile_of(options)),
        norm=request.norm,
        epsilons=request.distances,
    )
    return _analysed(
        request,
        options,
        lambda context: verification.analyse(context.session, chosen),
        verification.summarise,
    )


def verify_property(
    model: str | Path,
    file: str | Path,
    settings: PropertySettings | None = None,
    *,
    output: str | None = None,
    progress: Progress = silent,
) -> PropertySummary:
    """Certified or attacked: whether a property in a VNN-LIB file holds for an ONNX file.

    Inputs and outputs are those of the model file: there are no images and no preprocessing, and
    the model need not be a classifier. No results file is written.

    Args:
        model: ONNX file with one float32 input and one float32 output.
        file: the property, plain or compressed by gzip.
        settings: budget, method, arithmetic, tolerance and seed; by default 60 seconds in all.
        output: name of the model's output; by default, of several, the only float32 tensor with
            as many elements as the property has outputs.
        progress: is told of the parts of the property that are decided.

    Raises:
        RobcertError: a file cannot be read, or the property is one of another model.
    """
    return check_property(Path(model), Path(file), settings, output=output, progress=progress)


def smoothing_certify(
    model: Model,
    data: Images | None = None,
    settings: SmoothingSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[SmoothingSummary]:
    """Certified: l2 radii of the smoothed classifier, each with probability at least 1 - alpha.

    Arguments and errors as of :func:`attack`; ``norm`` and ``eps`` have no effect.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or SmoothingSettings.of_profile(profile_of(options))

    def analyse(context: SessionContext) -> str:
        session = smoothing.in_precision(context.session, chosen)
        return smoothing.analyse(session, chosen, batch_size=request.batch_size)

    return _analysed(request, options, analyse, smoothing.summarise)


def smoothing_predict(
    model: Model,
    data: Images | None = None,
    settings: PredictionSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[PredictionSummary]:
    """Certified: classes of the smoothed classifier, each with probability at least 1 - alpha.

    Arguments and errors as of :func:`smoothing_certify`.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or PredictionSettings.of_profile(profile_of(options))
    return _analysed(
        request,
        options,
        lambda context: smoothing.analyse_prediction(
            context.session, chosen, batch_size=request.batch_size
        ),
        smoothing.summarise_prediction,
    )


def smoothing_attack(
    model: Model,
    data: Images | None = None,
    settings: SmoothingAttackSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[SmoothingAttackSummary]:
    """Attacked: nearest images found that the smoothed classifier puts in another class.

    Arguments and errors as of :func:`smoothing_certify`.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or SmoothingAttackSettings.of_profile(profile_of(options))
    return _analysed(
        request,
        options,
        lambda context: smoothing.analyse_attack(
            context.session, chosen, batch_size=request.batch_size
        ),
        smoothing.summarise_attack,
    )


def masking_check(
    model: Model,
    data: Images | None = None,
    settings: MaskingSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[MaskingSummary]:
    """Measured and attacked: whether the model is robust or only masks its gradients.

    Arguments and errors as of :func:`attack`; one ``eps`` per call.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or replace(
        MaskingSettings.of_profile(profile_of(options)),
        norm=request.norm,
        epsilon=_one_epsilon(request),
    )
    return _analysed(
        request,
        options,
        lambda context: masking.analyse(context.session, chosen),
        masking.summarise,
    )


def surface(
    model: Model,
    data: Images | None = None,
    settings: SurfaceSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[SurfaceSummary]:
    """Measured: loss and classes in the plane of an attack and a random direction.

    Arguments and errors as of :func:`attack`; one ``eps`` per call. Select few images: each has a
    grid of its own.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or SurfaceSettings(norm=request.norm, epsilon=_one_epsilon(request))
    return _analysed(
        request,
        options,
        lambda context: landscape.analyse_surface(context.session, chosen),
        landscape.summarise_surface,
    )


def taylor(
    model: Model,
    data: Images | None = None,
    settings: TaylorSettings | None = None,
    **options: Unpack[Options],
) -> AnalysisResult[TaylorSummary]:
    """Measured: errors of second-order approximations of the loss within ``eps``.

    Arguments and errors as of :func:`attack`; one ``eps`` per call.
    """
    request = request_of(model, _loaded(data), options, settings)
    chosen = settings or TaylorSettings(norm=request.norm, epsilon=_one_epsilon(request))
    return _analysed(
        request,
        options,
        lambda context: landscape.analyse_taylor(context.session, chosen),
        landscape.summarise_taylor,
    )


def read_audit(results: str | Path) -> AuditResult:
    """The last audit in a results file; nothing is recomputed.

    Raises:
        StoreError: the file cannot be read, or holds no audit.
    """
    with ResultStore.read(Path(results)) as store:
        group = auditing.last_audit(store)
        if group is None:
            message = f"{results} holds no audit"
            raise StoreError(message, hint="run robcert audit, or audit() of robcert.certify")
        return audit_result(store, group.path, ())


def _analysed(
    request: SessionRequest,
    options: Options,
    analyse: Callable[[SessionContext], str],
    summarise: Callable[[ResultStore, str], S],
) -> AnalysisResult[S]:
    with _opened(request, options) as context:
        store = context.session.store
        path = analyse(context)
        summary = summarise(store, path)
        ledger(store).require_sound()
        context.warn_unfinished(path)
        for line in getattr(summary, "warnings", ()):
            context.warn(line)
        return AnalysisResult(summary, store.path, path, tuple(context.warnings))


def _opened(request: SessionRequest, options: Options) -> AbstractContextManager[SessionContext]:
    return open_session(
        request, progress=options.get("progress", silent), on_warning=_issue_warning
    )


def _issue_warning(line: str) -> None:
    outside = next(
        (
            depth
            for depth, frame in enumerate(inspect.stack(context=0))
            if not str(frame.frame.f_globals.get("__name__", "")).startswith(
                ("robcert.", "contextlib")
            )
        ),
        1,
    )
    warnings.warn(visible_line(line), RobcertWarning, stacklevel=outside + 1)


def _loaded(data: Images | None) -> ImageSet | None:
    return None if data is None else load_images(data)


def _one_epsilon(request: SessionRequest) -> float:
    if len(request.distances) > 1:
        message = f"this analysis takes one eps, got {len(request.distances)}"
        raise InvalidParameterError(message, hint="call the function once per eps")
    return request.distances[0]


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _call(function: str, model: Model, options: Options) -> str:
    """The call as it is recorded for the report; objects in memory are named by their type."""
    shown = repr(str(model)) if isinstance(model, str | Path) else type(model).__name__
    said = [f"{name}={value!r}" for name, value in options.items() if name != "progress"]
    return f"{function}({', '.join([shown, *said])})"
