"""What a property file says, in exact numbers, and what is refused in one line."""

from __future__ import annotations

import gzip
import itertools
import time
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import vnnlib_files as vf
from hypothesis import given
from hypothesis import strategies as st

from robcert.certify.errors import PropertyFileError
from robcert.certify.verification.properties import read_property
from robcert.certify.verification.properties import reading as reading_module
from robcert.certify.verification.properties.formula import (
    AllOf,
    AnyOf,
    InputBound,
    OutputRow,
    normal_form,
)

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.verification.properties.formula import Formula
    from robcert.certify.verification.properties.unsafe_set import UnsafeSet

UNIT = [(0, 1), (-0.5, "2.5e-1")]
HEAD = vf.old_style(UNIT, 2)


def row(constant: object, **coefficients: object) -> OutputRow:
    pairs = ((int(name[1:]), Fraction(str(value))) for name, value in coefficients.items())
    return OutputRow(tuple(pairs), Fraction(str(constant)))


def read(folder: Path, text: str) -> UnsafeSet:
    return read_property(vf.written(folder, text))


def test_both_versions_say_the_same(tmp_path: Path) -> None:
    old = read(tmp_path, vf.old_style(UNIT, 2, "(or (and (<= Y_0 0.1)) (and (>= Y_1 Y_0)))"))
    new = read(tmp_path, vf.new_style(UNIT, 2, "(or (<= Y[0,0] 0.1) (>= Y[0,1] Y[0,0]))"))
    assert old.cases == new.cases
    assert (old.version, new.version) == ("1.0", "2.0")
    assert (old.inputs, old.outputs) == (new.inputs, new.outputs) == (2, 2)
    first, second = old.cases
    assert first.rows == (row("-0.1", y0=1),)
    assert second.rows == (row(0, y0=1, y1=-1),)
    assert first.box is second.box
    assert first.box.lower == (Fraction(0), Fraction(-1, 2))
    assert first.box.upper == (Fraction(1), Fraction(1, 4))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(<= Y_0 3)", row(-3, y0=1)),
        ("(< 3 Y_0)", row(3, y0=-1)),
        ("(> Y_0 3)", row(3, y0=-1)),
        ("(>= 1e-3 Y_1)", row("-0.001", y1=1)),
        ("(<= (- Y_0 Y_1) (- 2))", row(2, y0=1, y1=-1)),
        ("(<= (+ Y_0 (* 2 Y_1) 1) Y_1)", row(1, y0=1, y1=1)),
        ("(<= (* 0.1 (- Y_0 1 Y_1)) 0)", row("-0.1", y0="0.1", y1="-0.1")),
        ("(<= (/ Y_0 4) .25)", row("-0.25", y0="0.25")),
        ("(<= (- Y_0) 5.)", row(-5, y0=-1)),
        ("(<= (+ Y_0 Y_1 (- Y_1)) 0)", row(0, y0=1)),
    ],
)
def test_linear_constraints_in_exact_arithmetic(
    tmp_path: Path, formula: str, expected: OutputRow
) -> None:
    (case,) = read(tmp_path, f"{HEAD}(assert {formula})").cases
    assert case.rows == (expected,)


def test_an_equality_is_two_constraints(tmp_path: Path) -> None:
    (case,) = read(tmp_path, HEAD + "(assert (= Y_0 1))(assert (= X_0 0.3))").cases
    assert case.rows == (row(-1, y0=1), row(1, y0=-1))
    assert case.box.lower[0] == case.box.upper[0] == Fraction(3, 10)


def test_boxes_in_a_disjunction(tmp_path: Path) -> None:
    parts = [
        f"(and (>= X_0 {low}) (<= X_0 {high}) (<= Y_0 {low}))" for low, high in [(0.1, 0.2), (2, 3)]
    ]
    unsafe = read(tmp_path, f"{HEAD}(assert (or {' '.join(parts)}))")
    (case,) = unsafe.cases  # the other box does not meet [0, 1]
    assert (case.box.lower[0], case.box.upper[0]) == (Fraction(1, 10), Fraction(1, 5))
    assert unsafe.empty == 1


def test_constraints_without_variables(tmp_path: Path) -> None:
    assert read(tmp_path, HEAD + "(assert (<= 2 1))").cases == ()
    (case,) = read(tmp_path, HEAD + "(assert (<= 1 2))").cases
    assert case.rows == ()
    unsafe = read(tmp_path, HEAD + "(assert (or (<= 2 1) (<= Y_0 0)))")
    assert [case.rows for case in unsafe.cases] == [(row(0, y0=1),)]


def test_spacing_changes_nothing(tmp_path: Path) -> None:
    usual = read(tmp_path, HEAD + "(assert (<= X_0 0.25))(assert (>= Y_1 -1.5e-3))")
    other = read(tmp_path, HEAD + "( assert(<= X_0\n0.25) )( assert (>= Y_1 -1.5e-3))")
    swapped = read(tmp_path, HEAD + "(assert (>= 0.25 X_0))(assert (<= -.0015 (+ Y_1)))")
    assert usual.cases == other.cases == swapped.cases


def test_what_does_not_change_the_question_is_skipped(tmp_path: Path) -> None:
    text = '(set-logic QF_LRA)\n(set-info :source "a (b)")\n; (assert\n' + HEAD
    text += "(assert (<= Y_0 0)) ; the end\n(check-sat)\n(get-model)\n(exit)\n"
    (case,) = read(tmp_path, text).cases
    assert case.rows == (row(0, y0=1),)


def test_tensors_are_numbered_in_row_major_order(tmp_path: Path) -> None:
    bounds = "".join(
        f"(assert (and (>= X[{i},{j}] {i}) (<= X[{i},{j}] 1{j})))"
        for i in range(2)
        for j in range(3)
    )
    text = (
        "(vnnlib-version <2.0>)(declare-network N (declare-input X Real [2, 3])"
        f'(declare-output Y float32 [] "logits")){bounds}(assert (> Y 0))'
    )
    (case,) = read(tmp_path, text).cases
    assert list(map(int, case.box.lower)) == [0, 0, 0, 1, 1, 1]
    assert list(map(int, case.box.upper)) == [10, 11, 12, 10, 11, 12]
    assert case.rows == (row(0, y0=-1),)


def test_a_compressed_file_says_the_same(tmp_path: Path) -> None:
    text = vf.old_style(UNIT, 2, "(<= Y_0 0)")
    plain = read(tmp_path, text)
    path = tmp_path / "property.vnnlib.gz"
    path.write_bytes(gzip.compress(text[:50].encode()) + gzip.compress(text[50:].encode()))
    assert read_property(path).cases == plain.cases
    assert read_property(path).sha256 != plain.sha256


NEW = vf.new_style(UNIT, 2)
DEEP = "(or " * 100_000 + "(<= Y_0 0)" + ")" * 100_000
PRODUCT = "(and" + " (or (<= Y_0 0) (>= Y_1 1))" * 40 + ")"
HUGE_PRODUCT = "(* " + f"1{'0' * 390} " * 400 + "Y_0)"
MANY_FRACTIONS = "(+ " + " ".join(f"(/ Y_0 1{'0' * 380}{i}7)" for i in range(300)) + ")"

MALFORMED = {
    "empty of commands": ("; nothing\n", "line 1: not a VNN-LIB property"),
    "no assertion": (
        "(declare-const X_0 Real)(declare-const Y_0 Real)",
        "line 1: not a VNN-LIB property: the file asserts nothing",
    ),
    "not closed": (HEAD + "(assert (<= Y_0 0)", "line 9: the command that begins here is not clo"),
    "closed twice": (HEAD + "(assert (<= Y_0 0)))", "line 9: expected a command .* found a '\\)'"),
    "nested assertion": (
        HEAD + "(and (assert (<= Y_0 0)))",
        "line 9: an assertion inside of another command",
    ),
    "a word outside": (HEAD + "hello", "line 9: expected a command .* found 'hello'"),
    "deep": (HEAD + f"(assert {DEEP})", "line 9: more than 64 brackets are nested"),
    "exponential": (HEAD + f"(assert {PRODUCT})", "disjunction of about 1e12 cases"),
    "unknown command": (HEAD + "(maximise Y_0)", "line 9: unsupported command 'maximise'"),
    "unknown operator": (HEAD + "(assert (xor Y_0 Y_1))", "line 9: unexpected 'xor'"),
    "negation": (HEAD + "(assert (not (<= Y_0 0)))", "line 9: unexpected 'not'"),
    "not equal": (HEAD + "(assert (!= Y_0 0))", "line 9: unexpected '!='"),
    "unknown name": (HEAD + "(assert (<= Y_7 0))", "'Y_7' is neither a number nor a declared name"),
    "NaN": (HEAD + "(assert (<= Y_0 nan))", "'nan' is neither a number nor"),
    "infinity": (HEAD + "(assert (<= X_0 inf))", "'inf' is neither a number nor"),
    "hexadecimal": (HEAD + "(assert (<= X_0 0x10))", "'0x10' is neither a number nor"),
    "huge exponent": (HEAD + "(assert (<= X_0 1e999999))", "'1e999999' is neither a number nor"),
    "large exponent": (HEAD + "(assert (<= Y_0 1e9999))", "the exponent of '1e9999' is too large"),
    "beyond float64": (HEAD + "(assert (<= Y_0 1e350))", "line 9: a number is beyond the range of"),
    "beyond float32": (
        HEAD.replace("(<= X_0 1)", "(<= X_0 1e39)") + "(assert (<= Y_0 0))",
        "an input's bound is beyond the range of float32",
    ),
    "long number": (HEAD + f"(assert (<= Y_0 {'7' * 5000}))", "is neither a number nor"),
    "long product": (HEAD + f"(assert (<= {HUGE_PRODUCT} 0))", "the numbers of this expressi"),
    "long sum": (
        HEAD + f"(assert (<= {MANY_FRACTIONS} 0))",
        "the numbers of this expressi",
    ),
    "one operand": (HEAD + "(assert (<= Y_0))", "'<=' compares two expressions, found 1"),
    "three operands": (HEAD + "(assert (<= 0 Y_0 1))", "'<=' compares two expressions, found 3"),
    "no operand": (HEAD + "(assert (<= (+) 0))", r"line 9: '\+' needs operands"),
    "empty or": (HEAD + "(assert (or))", "'or' joins formulas in brackets"),
    "bare formula": (HEAD + "(assert (and Y_0))", "'and' joins formulas in brackets"),
    "two formulas": (HEAD + "(assert (<= Y_0 0) (<= Y_1 0))", r"line 9: expected \(assert"),
    "bare assertion": (HEAD + "(assert Y_0)", r"line 9: expected \(assert"),
    "not linear": (HEAD + "(assert (<= (* Y_0 Y_1) 0))", "products and quotients of variables"),
    "quotient": (HEAD + "(assert (<= (/ 1 Y_1) 0))", "products and quotients of variables"),
    "division by zero": (HEAD + "(assert (<= (/ Y_0 0) 0))", "line 9: division by zero"),
    "inputs related": (HEAD + "(assert (<= X_0 X_1))", "relate several inputs are unsupported"),
    "input and output": (HEAD + "(assert (<= X_0 Y_0))", "inputs and outputs together are unsuppo"),
    "declared twice": ("(declare-const X_0 Real)\n" * 2, "line 2: 'X_0' is declared twice"),
    "declared late": (HEAD + "(declare-const Y_2 Real)", "a declaration after the first assertion"),
    "type Int": ("(declare-const X_0 Int)", r"line 1: expected \(declare-const X_0 Real\)"),
    "other name": ("(declare-const Z_0 Real)", r"line 1: expected \(declare-const X_0 Real\)"),
    "gap in the names": (HEAD.replace("X_0", "X_2"), "line 1: X_0 is not declared"),
    "astronomic index": ("(declare-const X_99999999 Real)", "100000000 variables; 1 to 4000000"),
    "no lower bound": (
        HEAD.replace("(assert (>= X_1 -0.5))", "(assert (<= Y_0 0))"),
        "input 1 has no lower bound",
    ),
    "version 3": ("(vnnlib-version <3.0>)", "line 1: versions 1.0 and 2.0 of VNN-LIB"),
    "two networks": (NEW + NEW, "a declaration after|properties of one network"),
    "hidden tensor": (
        '(declare-network N (declare-input X real [1]) (declare-hidden H real [1] "h"))',
        "'declare-hidden' is not supported",
    ),
    "two inputs": (
        "(declare-network N (declare-input X real [1]) (declare-input Z real [1]))",
        "networks with one input are supported",
    ),
    "integer tensor": ("(declare-network N (declare-input X int8 [1]))", "type 'int8'"),
    "no output": ("(declare-network N (declare-input X real [1]))", "declares no output"),
    "empty tensor": ("(declare-network N (declare-input X real [1,0]))", "0 variables"),
    "vast tensor": (
        "(declare-network N (declare-input X real [999999999,999999999]))",
        "999999998000000001 variables",
    ),
    "index out of range": (NEW + "(assert (<= Y[0,2] 0))", r"Y\[0, 2\] does not exist"),
    "too few indices": (NEW + "(assert (<= Y[0] 0))", r"Y\[0\] does not exist"),
    "no indices": (NEW + "(assert (<= Y 0))", "'Y' is a tensor and needs indices"),
    "index of a number": (HEAD + "(assert (<= Y_0[0] 0))", r"Y_0\[0\] does not exist"),
    "lonely index": (NEW + "(assert (<= [0] 0))", "indices without a name"),
    "broken index": (NEW + "(assert (<= Y[0,,1] 0))", "is not a list of indices"),
    "open index": (NEW + "(assert (<= Y[0 0))", "line 7: unexpected '\\["),
    "open text": ('(set-info :source "abc\n)', "line 1: unexpected '\"abc"),
    "quoted symbol": (HEAD + "(assert (<= |Y_0| 0))", "line 9: unexpected"),
    "control characters": (HEAD + "(\x1b[2J 1)", None),
    "HTML": ("<html><body>404</body></html>", "line 1: expected a command"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    text, expected = MALFORMED[name]
    start = time.monotonic()
    with pytest.raises(PropertyFileError, match=expected) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert message.isprintable()
    assert len(message) < len(str(tmp_path)) + 260
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\x00\xff\xfe", "is not a VNN-LIB file: byte 1 is not text"),
        (b"\x1f\x8b\x08damaged", "is a damaged gzip file"),
        (gzip.compress(HEAD.encode(), mtime=0)[:-20], "is a truncated gzip file"),
        (gzip.compress(b"", mtime=0) * 100, "consists of more than 16 gzip parts"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "property.vnnlib"
    path.write_bytes(content)
    with pytest.raises(PropertyFileError, match=expected):
        read_property(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PropertyFileError, match="does not exist"):
        read_property(tmp_path / "none.vnnlib")
    with pytest.raises(PropertyFileError, match="is not a file"):
        read_property(tmp_path)


def test_a_gzip_bomb_is_never_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.vnnlib.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(b" " * 2**20)
    with pytest.raises(PropertyFileError, match="decompresses to more than 33554432 bytes"):
        read_property(path)


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.vnnlib"
    with path.open("wb") as file:
        file.truncate(2**30)  # sparse
    with pytest.raises(PropertyFileError, match="a property file has at most"):
        read_property(path)


def test_a_command_of_too_many_parts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "LARGEST_COMMAND", 50)
    with pytest.raises(PropertyFileError, match="line 9: the command that begins here has more"):
        read(tmp_path, HEAD + f"(assert (<= (+ {'1 ' * 60}) Y_0))")


def test_a_false_part_hides_no_explosion(tmp_path: Path) -> None:
    assert read(tmp_path, f"{HEAD}(assert (and (<= 1 0) {PRODUCT}))").cases == ()


ATOMS = st.integers(0, 3).map(lambda i: InputBound(i, Fraction(0), upper=True))


def formulas() -> st.SearchStrategy[Formula]:
    return st.recursive(
        ATOMS,
        lambda inner: st.builds(
            lambda kind, parts: kind(tuple(parts)),
            st.sampled_from([AllOf, AnyOf]),
            st.lists(inner, max_size=3),
        ),
        max_leaves=10,
    )


def holds(formula: Formula, true: set[int]) -> bool:
    if isinstance(formula, AllOf):
        return all(holds(part, true) for part in formula.parts)
    if isinstance(formula, AnyOf):
        return any(holds(part, true) for part in formula.parts)
    assert isinstance(formula, InputBound)
    return formula.index in true


@given(formulas())
def test_the_normal_form_is_the_same_formula(formula: Formula) -> None:
    form = normal_form(formula)
    for size in range(5):
        for chosen in itertools.combinations(range(4), size):
            true = set(chosen)
            common = all(holds(atom, true) for atom in form.common)
            clauses = any(all(holds(atom, true) for atom in clause) for clause in form.clauses)
            assert holds(formula, true) == (common and clauses)
