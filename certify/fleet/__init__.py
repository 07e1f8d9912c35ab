"""Audits of several models by one command, each in a process of its own."""

from .analysis import audit_models
from .member import AuditOrder
from .models import FleetModel, fleet_models, is_fleet
from .outcome import MemberOutcome, State
from .racing import FleetRace
from .summary import FleetSummary, RaceFacts, summarise

__all__ = [
    "AuditOrder",
    "FleetModel",
    "FleetRace",
    "FleetSummary",
    "MemberOutcome",
    "RaceFacts",
    "State",
    "audit_models",
    "fleet_models",
    "is_fleet",
    "summarise",
]
