"""Properties in VNN-LIB: boxes of inputs and linear constraints of the outputs of any network."""

from .check import check_property
from .settings import PropertySettings
from .summary import Answer, PropertySummary
from .tables import tables as property_tables
from .unsafe_set import UnsafeSet, read_property

__all__ = [
    "Answer",
    "PropertySettings",
    "PropertySummary",
    "UnsafeSet",
    "check_property",
    "property_tables",
    "read_property",
]
