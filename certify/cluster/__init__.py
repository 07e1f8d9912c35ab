"""Workers on the nodes of a Ray cluster, which compute rows as the processes of one machine do."""

from __future__ import annotations

from .request import RayRequest, require_ray
from .start import Subject, opened_crew

__all__ = ["RayRequest", "Subject", "opened_crew", "require_ray"]
