"""Unclear words and names that must not come back, with the better word for each."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

CODE = ("certify/", "cli/", "reproduction/", "trainers/", "fixtures/", "benchmarks/", "docs/")
"""Folders whose Python files are checked; tests may quote a word to forbid it."""

PAGES = (".md", ".j2", ".toml", ".ipynb", "Makefile")
"""Endings of other files that are checked as a whole."""

EXCLUDED = {"CHANGELOG.md"}

WORDS = {
    r"(?:some|any)body|someone": "an adversarial example was found, or name who",
    r"stood (?:there|within)": "an adversarial example was found",
    r"pupils?": "surrogate",
    r"tried, never believed": "decided by running it",
    r"if that is meant": "if so, pass",
    r"is taken off": "is subtracted",
    r"lanes?": "active batch",
    r"given up": "stopped early, abandoned",
    r"(?:left|leave|leaves|leaving) (?:an image |images )?(?:as )?standing": "survives",
    r"and their kin": "name them: L-, omega-, gamma- and curvature bounds",
    r"(?:their|its|the) company": "the other images of the batch",
    r"(?:looked|look|looks) harder": "make the check stronger",
    r"would make it masked": "the verdict would be 'masked'",
    r"(?:declared|planned) looks?": "planned interim analyses",
    r"begin nothing new": "start no new work",
    r"(?:begun|begins?) anew": "created again, restarted",
    r"taken? up again": "resumed",
    r"that proves nothing": "stronger attacks may find more",
    r"in few lanes": "batched, of fixed width",
    r"gives? up": "stop early, abandon",
    r"giving up": "early stopping",
    r"brought into the class": "moved to their target class",
    r"drawn for them": "randomly chosen",
    r"hunts?": "search",
    r"chances? at the (?:boundary|decision boundary)": "near the decision boundary",
    r"(?:gradients?|losses|gradient) (?:tells|tell) the truth": "describes the neighbourhood well",
    r"is hopeless": "futile",
    r"withstands?|withstood|withstanding": "survives, still classified correctly",
    r"half way": "halfway; above half the threshold",
    r"kin": "name the related bounds",
    r"in doubt": "selected, or say which property is unusual",
    r"(?:gets?|got|getting) through": "succeeds",
    r"leads? nowhere|lead to nothing": "useless",
    r"blown up": "enlarged, scaled",
    r"by the clock": "by elapsed time",
    r"cut short": "truncated",
    r"is no picture": "has no extension of a figure",
    r"(?:the )?best of all": "all attacks together",
    r"beyond naive": "survive the naive attack but not this one",
    r"the law that": "the fitted distribution",
    r"(?:bends?|bent) where": "has kinks",
    r"mean little": "are meaningless",
    r"(?:never|is not|not) believed": "not trusted",
    r"left out by": "excluded by",
    r"side by side, (?:one|each)": "one row per model",
    r"in turns": "alternately",
    r"(?:images|draws|samples|steps) an? (?:second|hour|minute)": "per second",
    r"peers": "other libraries, other processes",
    r"(?:gradients?|differentiates?|derivatives?) by (?:the|its) (?:images?|parameters|inputs?)": (
        "with respect to, input gradient"
    ),
    r"(?:rows?|number|tables?|group|file|arrays|entry) an? (?:image|command|model|strength)": "per",
    r"(?:row|panel|bar|task|pixels|points|bits|layer) a (?:class|side|channel|radius|task|step)": (
        "per"
    ),
    r"(?:draws|samples|gradients|steps|images|once|passes|queries) an image": "per image",
    r"(?:fields a side|numbers a strength|one an image)": "per",
    r"(?:within|in|out of) reach": "attainable",
    r"speaks? of": "refers to",
    r"looked (?:for|at)": "searched, examined",
    r"says? nothing": "is not informative",
    r"asked for": "requested",
    r"not begun|(?:was|is|were) begun": "not started, created",
    r"anew": "again",
    r"changes a row": "settings that the rows depend on",
    r"what the reader must know": "limitations of the numbers",
    r"what is left": "the rest",
    r"be had": "available",
    r"for people": "as text",
}
"""Patterns in text (comments, strings, pages), matched as whole words without case."""

NAMES = {
    "Effort": "AttackBudget",
    "GONE": "GRADIENT_FLOOR",
    "Hunt": "SearchState",
    "Job": "ImageTask",
    "LADDER": "EXTENSIONS",
    "Opened": "SessionContext",
    "Others": "ExtraTests",
    "Outlook": "EarlyStopping",
    "Piece": "NoiseChunk",
    "Tally": "EpochTotals",
    "Verdict": "MaskingVerdict, TestDecision or AuditVerdict",
    "climb": "ascend, run_ascents",
    "climbs": "ascends",
    "company": "batch",
    "hopeless": "futile",
    "in_doubt": "needs_long_search",
    "in_reach": "attainable",
    "kin": "related bounds",
    "nearest_face": "nearest_class_boundary",
    "out_of_reach": "unattainable",
    "require_hope": "require_progress",
    "settle": "verify_candidates, shrink_and_verify",
    "within_reach": "attainable",
}
"""Names in code, as whole identifiers."""

_PATTERNS = [
    (re.compile(rf"\b(?:{word})\b", re.IGNORECASE), better) for word, better in WORDS.items()
]


class Text(NamedTuple):
    """A piece of text: its first line and its content."""

    line: int
    content: str


def tracked() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def strings(source: str) -> Iterator[Text]:
    """Every string literal; adjacent ones are joined, replaced fields of f-strings are gaps."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Text(node.lineno, node.value)


def comments(source: str) -> Iterator[Text]:
    """Every comment; comments on consecutive lines are joined."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] == last + 1:
            block.append(token.string.lstrip("# "))
        else:
            if block:
                yield Text(first, "\n".join(block))
            block, first = [token.string.lstrip("# ")], token.start[0]
        last = token.start[0]
    if block:
        yield Text(first, "\n".join(block))


def identifiers(source: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield Text(token.start[0], token.string)


def unclear_words(text: Text) -> Iterator[tuple[int, str, str]]:
    """Line, word and better word of each match; a match may go over the end of a line."""
    content = re.sub(r"\s", " ", text.content)
    content = re.sub(r" +", lambda run: " " + "\0" * (len(run.group()) - 1), content)
    kept = [place for place, letter in enumerate(content) if letter != "\0"]
    joined = "".join(content[place] for place in kept)
    for pattern, better in _PATTERNS:
        for match in pattern.finditer(joined):
            line = text.line + text.content.count("\n", 0, kept[match.start()])
            yield line, match.group(), better


def findings(name: str) -> list[str]:
    source = (ROOT / name).read_text(encoding="utf-8")
    texts = [*strings(source), *comments(source)] if name.endswith(".py") else [Text(1, source)]
    found = [hit for text in texts for hit in unclear_words(text)]
    if name.endswith(".py"):
        found += [(line, word, NAMES[word]) for line, word in identifiers(source) if word in NAMES]
    return [f"{name}:{line}: {word!r} -> {better}" for line, word, better in sorted(set(found))]


def test_no_unclear_word_has_come_back() -> None:
    names = [
        name
        for name in tracked()
        if name not in EXCLUDED
        and (name.endswith(PAGES) or (name.endswith(".py") and name.startswith(CODE)))
    ]
    assert len(names) > 100
    found = [line for name in names for line in findings(name)]
    assert not found, f"{len(found)} unclear words or names:\n" + "\n".join(found)


def test_a_word_is_found_across_lines_and_with_its_line() -> None:
    hits = list(unclear_words(Text(7, "one\nthat proves\n    nothing\n")))
    assert hits == [(8, "that proves nothing", "stronger attacks may find more")]
    source = 'x = ("give "\n     "up")\n# an image\n# is given\n# up\n'
    assert [hit[1] for text in strings(source) for hit in unclear_words(text)] == ["give up"]
    marked = [hit[:2] for text in comments(source) for hit in unclear_words(text)]
    assert marked == [(4, "given up")]
