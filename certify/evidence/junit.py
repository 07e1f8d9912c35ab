"""Checks as JUnit XML: one test case per check, which CI servers show as tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.visible import visible_line

from .checks import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from junitparser import TestCase

    from .checks import Check


def junit_bytes(checks: Sequence[Check], suite: str, facts: Mapping[str, str]) -> bytes:
    """Content of a JUnit file.

    A failed check has a ``failure``. A warning does not change the exit status and JUnit has no
    word for it: it is ``skipped``, with the warning as its message.

    Args:
        checks: the test cases.
        suite: name of the test suite.
        facts: properties of the suite, by name.
    """
    from junitparser import JUnitXml, TestSuite

    made = TestSuite(suite)
    for name, value in facts.items():
        made.add_property(name, visible_line(value))
    for check in checks:
        made.add_testcase(_case(check))
    document: Any = JUnitXml("robcert")
    document.add_testsuite(made)
    content: bytes = document.tostring()
    return content


def _case(check: Check) -> TestCase:
    from junitparser import Failure, Skipped, TestCase

    case = TestCase(visible_line(check.name), classname=f"robcert.{check.rule.id}")
    message = visible_line(check.message)
    if check.outcome is Outcome.FAILED:
        failure = Failure(message, check.rule.id)
        failure.text = f"{message}\n{check.rule.doc}"
        case.result = [failure]
    elif check.outcome is Outcome.WARNED:
        case.result = [Skipped(f"warning: {message}", check.rule.id)]
    else:
        case.system_out = message
    return case
