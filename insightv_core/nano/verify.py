"""The exact verifier: find what a reasoning step claims about a picture whose whole truth is known, and judge it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from insightv_core.nano.scenes import Scene, ShapeGrid
from insightv_core.nano.verifier.changes import name_moves, read_changes
from insightv_core.nano.verifier.facts import Context, Facts, gather_facts
from insightv_core.nano.verifier.grid import name_places, read_grid
from insightv_core.nano.verifier.names import name_things
from insightv_core.nano.verifier.numbers import (
    name_comparators,
    name_functions,
    read_comparisons,
    read_labeled_sums,
    read_sums,
)
from insightv_core.nano.verifier.running import read_running
from insightv_core.nano.verifier.statements import decide_options, read_answers, read_statements
from insightv_core.nano.verifier.tables import name_cells, read_cells, read_table_results, read_table_sums
from insightv_core.nano.verifier.text import Found, Judged, Sentence, rule, split_sentences, stand_for
from insightv_core.nano.verifier.titles import read_title
from insightv_core.nano.verifier.values import (
    name_extremes,
    name_totals,
    read_beside,
    read_counts,
    read_extremes,
    read_that_makes,
    read_totals,
    read_values,
)
from insightv_core.records import Step

_LEAD = rule(r"(?:^ )?step [0-9]+ (?::|-|\))|^ ?[0-9]+ \)")
_DENIES = re.compile(r" (?:it is |that is |is )?(?:not true|false|wrong|incorrect|untrue|not the case) that ")
_SUPPOSES = re.compile(r" (?:if|suppose|assume|assuming|imagine|unless|whether|had|let) ")


@dataclass(frozen=True)
class Claim:
    """One claim of a text: its words as found, "true", "false" or "unknown" (not checkable), and why."""

    text: str
    verdict: str
    reason: str


def find_claims(
    text: str, scene: Scene, *, answer: str | None = None, statements: Sequence[str] = ()
) -> tuple[Claim, ...]:
    """Return the claims that a text makes about a scene, in the order of the text, each judged.

    `answer` is the true answer of the question; `statements` are the options A, B, ... of a question that asks which
    one is false. Words without a number, a name or a verdict are no claim.
    """
    facts = gather_facts(scene)
    context = Context(answer, tuple(statements))
    if statements:
        context.holds = decide_options(context.statements, lambda said: _holds(find_claims(said, scene)))
    claims: list[tuple[int, Claim]] = []
    for sentence in split_sentences(text, _words(facts, bool(statements))):
        if not sentence.asks:
            for start, end, judged in _read_sentence(sentence, facts, context, text):
                verdict = {True: "true", False: "false", None: "unknown"}[judged.truth]
                claims.append((start, Claim(text[start:end], verdict, judged.reason)))
    return tuple(claim for _, claim in sorted(claims, key=lambda pair: pair[0]))


def verify_step(step: Step, scene: Scene, *, answer: str | None = None, statements: Sequence[str] = ()) -> str:
    """Return "flawed" for a step with a false claim, "sound" with true claims only, else "unchecked"."""
    text = f"{step.summary}.\n{step.content}"
    verdicts = {claim.verdict for claim in find_claims(text, scene, answer=answer, statements=statements)}
    return "flawed" if "false" in verdicts else "sound" if "true" in verdicts else "unchecked"


def _holds(claims: tuple[Claim, ...]) -> bool | None:
    """Tell whether a whole statement is true, false or open."""
    verdicts = {claim.verdict for claim in claims}
    return False if "false" in verdicts else True if verdicts == {"true"} else None


def _words(facts: Facts, optional: bool) -> dict[str, str]:
    """Return the words of the scene, and the letters of the options where they name nothing in the picture."""
    letters = {letter: f"!{letter.lower()}" for letter in "ABCD"} if optional else {}
    return letters | facts.words


def _read_sentence(sentence: Sentence, facts: Facts, context: Context, text: str) -> list[tuple[int, int, Judged]]:
    """Run every rule over a sentence: first names, then what takes most words, plain readings last."""
    line = sentence.line()
    sentence.rewrite(_LEAD, stand_for(","))
    read_title(sentence, facts, text)
    if context.statements:
        sentence.rewrite(rule(r"((?:statement|option|choice) )([a-d])"), lambda m: Found(canon=f"{m[1]}!{m[2]}"))
    read_statements(sentence, facts, context)
    read_answers(sentence, facts, context)
    if isinstance(facts.scene, ShapeGrid):
        name_places(sentence, facts.scene)
        read_grid(sentence, facts, context)
    else:
        name_extremes(sentence)
        name_things(sentence, facts, context)
        name_cells(sentence, facts, context)
        name_moves(sentence, facts)
        read_running(sentence, facts, context)
    for read in (read_beside, read_labeled_sums, read_table_sums, name_totals, name_functions, read_sums, read_changes):
        read(sentence, facts, context)
    name_comparators(sentence, facts, vertical=not isinstance(facts.scene, ShapeGrid))
    for read in (read_counts, read_table_results, read_cells, read_extremes, read_comparisons):
        read(sentence, facts, context)
    read_values(sentence, facts, context)
    for read in (read_extremes, read_counts, read_comparisons, read_totals, read_answers, read_that_makes):
        read(sentence, facts, context)
    return _settle(sentence, line)


def _settle(sentence: Sentence, line: str) -> list[tuple[int, int, Judged]]:
    """Add the one claim for what no rule could read, and keep denied or supposed claims from counting as plain."""
    claims = sentence.claims
    if claims and (_SUPPOSES.search(line) or (_DENIES.search(line) and len(claims) > 1)):
        return [(start, end, Judged(None, "it is only supposed or denied as a whole")) for start, end, _ in claims]
    if _DENIES.search(line):
        claims = [(start, end, Judged(None if j.truth is None else not j.truth, j.reason)) for start, end, j in claims]
    if left := sentence.left():
        start, end = left[0].start, left[-1].end
        claims = [*claims, (start, end, Judged(None, "these words cannot be compared with the picture"))]
    return claims
