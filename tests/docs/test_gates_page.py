"""docs/gates.md has every number of the catalogue with its claim, and gates that are gates."""

from __future__ import annotations

import re

from docs_pages import code_of, table_rows, text_of

from robcert.certify.auditing.settings import AuditSettings
from robcert.certify.core import Norm
from robcert.certify.gates.catalogue import NUMBERS
from robcert.certify.gates.grammar import Reader
from robcert.certify.gates.offered import of_audit

PAGE = text_of("docs/gates.md")
RADII = (2 / 255, 8 / 255)


def test_every_number_is_described() -> None:
    table = PAGE[PAGE.index("| number | claim |") : PAGE.index("A gate keeps")]
    shown = {
        name.partition("@")[0]: (claim, interval == "yes")
        for cell, claim, interval, _ in table_rows(table)[1:]
        if "`" in cell
        for name in code_of(cell)
    }
    assert shown == {name: (str(one.kind), one.interval) for name, one in NUMBERS.items()}


def test_every_gate_of_the_page_is_one() -> None:
    reader = Reader(
        of_audit(
            AuditSettings.of_profile("quick", norm=Norm.LINF, epsilon=RADII[0], epsilons=RADII)
        )
    )
    found = re.findall(r"--gate '([^'A-Z]+)'", PAGE)
    assert len(found) >= 5
    for text in found:
        reader.gate(text)
