"""Options of the functions of the Python API, checked before anything is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from robcert.certify.auditing import SessionRequest
from robcert.certify.cluster import RayRequest
from robcert.certify.data import ImageSet
from robcert.certify.importer import RunLimits, torch_device
from robcert.certify.model import Classifier, PreprocessOptions, module_classifier
from robcert.certify.verification import VerificationSettings

from .core import Norm, Profile, Progress
from .errors import DataError, InvalidParameterError

Model = str | Path | nn.Module | Classifier
"""A model file, checkpoint or run folder; a torch module in evaluation mode; a loaded model."""

Images = str | Path | ImageSet | tuple[Any, Any] | np.ndarray[Any, Any] | Tensor | Dataset[Any]
"""A data set's name, file or folder; ``(images, labels)`` arrays; images without labels; a data
set of PyTorch."""


class Options(TypedDict, total=False):
    """Keyword arguments of every analysis; names and meaning as on the command line.

    Attributes:
        norm: norm of distances: ``linf`` (default), ``l2`` or ``l1``.
        eps: distance or distances, pixel units of [0, 1]; default 8/255, 0.5, 12 by norm.
        limit: largest number of images to report on.
        every: report on each ``every``-th image only.
        indices: report on exactly these images.
        profile: ``quick``, ``standard`` (default) or ``thorough``.
        seed: seed of every random draw.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        threads: CPU threads; default all cores.
        workers: processes of one thread each that compute the images, a number or ``auto``; changes
            speed only. Default none. With ``ray`` their largest number.
        ray: Ray cluster whose nodes compute the images: ``local``, ``auto`` or ``HOST:PORT``;
            changes speed only. Needs ``robcert[cluster]``.
        ray_resources: what a worker requests of its node, such as ``{"gpu": 1}``; default one CPU.
        batch_size: images per step; changes speed only.
        out: results file; default ``robcert-results/<model>-<sha8>.h5``.
        overwrite: replace an existing results file.
        preprocess: how pixels become the model's input: options, a dictionary of them (``mean``,
            ``std``, ``range``, ``layout``, …), or a JSON file.
        output: name of the model's output with the class scores.
        task: ``multiclass`` if each image has one class although the model ends with a sigmoid over
            more than two.
        allow_low_accuracy: continue even if clean accuracy is at chance level.
        time_budget: seconds after which no new work is started; a batch that takes 15 s longer is
            abandoned.
        call_limit: longest time of one call of the model in seconds; default 60, and 5 for each
            image of its batch.
        memory_limit: bytes that the model may use; default 3 GiB to load an ONNX file, and where
            its cost depends on the pixels, else the memory of the machine.
        progress: function that is called with the progress of each task.
    """

    norm: Norm | str
    eps: float | Sequence[float]
    limit: int
    every: int
    indices: Sequence[int]
    profile: Profile
    seed: int
    device: str
    threads: int
    workers: int | Literal["auto"]
    ray: str
    ray_resources: Mapping[str, float]
    batch_size: int
    out: str | Path
    overwrite: bool
    preprocess: PreprocessOptions | Mapping[str, Any] | str | Path
    output: str
    task: Literal["multiclass"]
    allow_low_accuracy: bool
    time_budget: float
    call_limit: float
    memory_limit: int
    progress: Progress


def request_of(
    model: Model, images: ImageSet | None, options: Options, settings: object = None
) -> SessionRequest:
    """Request for a session; a model in memory is converted to a classifier.

    Raises:
        InvalidParameterError: an option does not exist, has no valid value, or is in ``settings``.
        RobcertError: the model in memory is no image classifier of these images.
    """
    require_known(options)
    _require_agreement(options, settings)
    out = options.get("out")
    return SessionRequest(
        model=model_of(model, images, options),
        data=images,
        limit=_whole(options, "limit"),
        every=_whole(options, "every"),
        indices=_indices(options),
        norm=_norm(getattr(settings, "norm", options.get("norm", Norm.LINF))),
        epsilons=_epsilons(options),
        seed=_whole(options, "seed") or 0,
        device=options.get("device", "auto"),
        threads=_whole(options, "threads"),
        workers=_workers(options),
        ray=_ray(options),
        batch_size=_whole(options, "batch_size"),
        out=None if out is None else Path(out),
        overwrite=options.get("overwrite", False),
        preprocess=preprocessing(options),
        output=options.get("output"),
        task=options.get("task"),
        allow_low_accuracy=options.get("allow_low_accuracy", False),
        seconds=_seconds(options),
        limits=run_limits(options),
    )


def run_limits(options: Options) -> RunLimits:
    """What the model may use.

    Raises:
        InvalidParameterError: a limit has no valid value.
    """
    seconds = options.get("call_limit")
    return RunLimits(
        seconds=None if seconds is None else _number("call_limit", seconds),
        memory=_whole(options, "memory_limit"),
    )


def _workers(options: Options) -> int | Literal["auto"] | None:
    """The number of worker processes, or ``auto``; None if the option is absent or None."""
    return "auto" if options.get("workers") == "auto" else _whole(options, "workers")


def _ray(options: Options) -> RayRequest | None:
    """The Ray cluster; None if the option is absent or None."""
    address, resources = options.get("ray"), options.get("ray_resources")
    if address is None:
        if resources:
            message = "ray_resources without ray has no effect"
            raise InvalidParameterError(message, hint="pass ray='local', for instance")
        return None
    named = {name: _number(f"ray_resources[{name!r}]", n) for name, n in (resources or {}).items()}
    return RayRequest.of(address, named)


def _whole(options: Mapping[str, Any], name: str) -> int | None:
    """The whole number of the option ``name``; None if it is absent or None."""
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or abs(int(value)) >= 2**63:
        message = f"{name} must be a whole number of at most 63 bits, got {value!r}"
        raise InvalidParameterError(message)
    return int(value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        message = f"{name} must be a finite number, got {value!r}"
        hint = "write 8/255 without quotes" if isinstance(value, str) else ""
        raise InvalidParameterError(message, hint=hint)
    return float(value)


def _seconds(options: Options) -> float | None:
    budget = options.get("time_budget")
    if budget is None:
        return None
    seconds = _number("time_budget", budget)
    if seconds < 0:
        message = f"time_budget must not be negative, got {seconds:g}"
        raise InvalidParameterError(message)
    return seconds


def _indices(options: Options) -> tuple[int, ...]:
    found: Any = options.get("indices")
    if found is None:
        return ()
    listed = [] if isinstance(found, str) else list(found)
    if not listed or any(isinstance(i, bool) or not isinstance(i, Integral) for i in listed):
        message = f"indices must be one or more whole numbers, got {found!r}"
        raise InvalidParameterError(message)
    return tuple(int(index) for index in listed)


def _norm(name: Norm | str) -> Norm:
    try:
        return Norm(name)
    except ValueError:
        message = f"{name!r} is not a norm; it is one of {', '.join(Norm)}"
        raise InvalidParameterError(message) from None


def _epsilons(options: Options) -> tuple[float, ...]:
    said: Any = options.get("eps")
    if said is None:
        return ()
    found = (said,) if np.ndim(said) == 0 else tuple(said)
    return tuple(dict.fromkeys(_number("eps", epsilon) for epsilon in found))


def model_of(model: Model, images: ImageSet | None, options: Options) -> Path | Classifier:
    """The path of a model file, or the classifier of a model in memory."""
    if isinstance(model, Classifier):
        return model
    if isinstance(model, str | Path):
        return Path(model)
    if not isinstance(model, nn.Module):
        message = f"a model is a path, a torch.nn.Module or a loaded model, not {model!r:.80}"
        raise InvalidParameterError(message)
    if images is None:
        name = type(model).__name__
        message = f"{name} is a module in memory, so the size of its images is unknown"
        raise DataError(message, hint="pass the images with the model")
    if "output" in options:
        message = "output selects an output of a model file; a module has only one"
        raise InvalidParameterError(message)
    return module_classifier(
        model,
        image_shape=images.shape,
        preprocess=preprocessing(options),
        device=torch_device(options.get("device", "auto")),
    )


def preprocessing(options: Options) -> PreprocessOptions:
    """The option ``preprocess`` in any of its forms."""
    said = options.get("preprocess")
    if said is None:
        return PreprocessOptions()
    if isinstance(said, PreprocessOptions):
        return said
    if isinstance(said, str | Path):
        return PreprocessOptions.from_text(str(said))
    if not isinstance(said, Mapping):
        message = f"preprocess must be options, a dictionary of them or a JSON file, got {said!r}"
        raise InvalidParameterError(message)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
    return PreprocessOptions.from_json(json.dumps(plain), source="preprocess")


def profile_of(options: Options) -> Profile:
    """The profile, ``standard`` by default."""
    profile = options.get("profile", "standard")
    if profile not in get_args(Profile):
        message = f"profile must be one of {', '.join(get_args(Profile))}, got {profile!r}"
        raise InvalidParameterError(message)
    return profile


def require_known(options: Options) -> None:
    """Raise an InvalidParameterError if an option does not exist."""
    for name in options:
        if name not in Options.__annotations__:
            close = get_close_matches(name, Options.__annotations__, n=1)
            message = f"there is no option {name!r}"
            known = ", ".join(Options.__annotations__)
            raise InvalidParameterError(
                message, hint=f"did you mean {close[0]!r}?" if close else f"options: {known}"
            )


def _require_agreement(options: Options, settings: object) -> None:
    """Raise if an option and ``settings`` set the same value."""
    if settings is None:
        return
    said = {"profile"} | ({"norm"} & {f.name for f in fields(settings)})  # type: ignore[arg-type]
    decides = hasattr(settings, "epsilon") or isinstance(settings, VerificationSettings)
    said |= {"eps"} if decides else set()
    if both := sorted(said & set(options)):
        message = f"{', '.join(both)} and settings exclude one another"
        raise InvalidParameterError(message, hint="set the values in settings alone")
