"""Which Ray cluster is used, and what each worker requests of its nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

from robcert.certify.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = "local"
"""Address of a cluster that is started on this machine and ends with the command."""

_USUAL = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True, slots=True)
class RayRequest:
    """A Ray cluster.

    Attributes:
        address: ``local``, ``auto`` for the cluster that this machine is a node of, or HOST:PORT.
        resources: what a worker requests, by the name that the resource has in Ray; one CPU unless
            it says otherwise.

    Raises:
        InvalidParameterError: there can be no such cluster.
    """

    address: str
    resources: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without Ray."""
        if not self.address.strip():
            message = "the address of the Ray cluster is empty"
            raise InvalidParameterError(message, hint="pass local, auto or HOST:PORT")
        if self.address.startswith("ray://"):
            message = f"{self.address}: robcert must run on a node of the Ray cluster"
            hint = "run the command there with --ray auto, for instance by ray job submit"
            raise InvalidParameterError(message, hint=hint)
        for name, amount in self.resources:
            if not (math.isfinite(amount) and amount >= 0):
                message = f"a Ray worker cannot request {amount:g} of {name}"
                raise InvalidParameterError(message, hint="pass a number from 0, as in gpu=1")

    @classmethod
    def of(cls, address: str, resources: Mapping[str, float]) -> Self:
        """The cluster at ``address``; the names ``cpu`` and ``gpu`` may have any case."""
        named = {_USUAL.get(name.lower(), name): float(n) for name, n in resources.items()}
        return cls(address, tuple(sorted(named.items())))

    @property
    def local(self) -> bool:
        """Whether the cluster is started here."""
        return self.address == LOCAL

    @property
    def needs(self) -> dict[str, float]:
        """All that a worker requests of its node."""
        return {"CPU": 1.0, **dict(self.resources)}

    @property
    def shown(self) -> str:
        """What a worker requests, in a message."""
        return ", ".join(f"{name}={amount:g}" for name, amount in self.needs.items())


def require_ray() -> None:
    """Raise an InvalidParameterError unless Ray is installed."""
    if find_spec("ray") is None:
        message = "--ray needs Ray, which is not installed"
        raise InvalidParameterError(message, hint='install it: pip install "robcert[cluster]"')
