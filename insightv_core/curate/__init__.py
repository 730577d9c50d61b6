"""Stage 3: training sets for both agents and preference pairs from assessed paths (arXiv 2411.14432, section 3.2-3.4).

The reasoning set imitates the best path of a question. The summary set shows the summary agent optimal chains, flawed
ones of several degrees and the reasoning agent's own, and teaches it to say which is which and to answer rightly
either way; plain questions keep it able to answer without a chain. Preference pairs are for the reasoning agent.

Everything here is a pure function of plain data and a seed; `insightv_core.store.curation` reads and saves it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from insightv_core import __version__, prompts
from insightv_core.answers import CORRECT
from insightv_core.curate.pairs import TIED, explain_no_pair, find_pairs
from insightv_core.curate.sets import (
    REASON,
    SummaryPool,
    add_to_pool,
    choose_best,
    draw_summary,
    keep_distinct,
    write_chain,
)
from insightv_core.curate.settings import CurateSettings, check_settings
from insightv_core.curate.yields import estimate_noise, measure_yield
from insightv_core.records import COMPLETE, Candidate, Pair, Preference, Question, Run, SetRow, identify

__all__ = [
    "Curation", "CurateSettings", "check_settings", "curate", "estimate_noise", "find_pairs", "measure_yield",
    "name_run",
]  # fmt: skip

REASON_SET, SUMMARY_SET, PAIRS = "reason", "summary", "pairs"
SETS = (REASON_SET, SUMMARY_SET, PAIRS)


@dataclass
class Curation:
    """What came of curating: both sets, the pairs, and how many got how far.

    `funnel` counts questions and paths at each stage; `left_out` counts, for each set, what has no row there by reason:
    questions for the reasoning set and the pairs, paths for the summary set.
    """

    reason: list[SetRow] = field(default_factory=list)
    summary: list[SetRow] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    funnel: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in SETS})


def name_run(settings: CurateSettings, inputs: Mapping) -> Run:
    """Return the run that these settings and inputs stand for: the same work has the same id.

    `inputs` says what there is to curate from, as plain data (see `store.curation.describe_inputs`).
    """
    described = {**asdict(check_settings(settings)), "inputs": dict(inputs)}
    run = identify("curate", prompts.PROMPT_VERSION, described)
    return Run(run, "curate", None, prompts.PROMPT_VERSION, described, __version__)


def curate(
    material: Iterable[tuple[Question, Sequence[Candidate]]],
    run: Run,
    settings: CurateSettings,
    *,
    preferences: Mapping[str, Sequence[Preference]] | None = None,
    edits: Mapping[str, str] | None = None,
) -> Curation:
    """Return the training sets and pairs that can be made of questions and their candidates, read one by one.

    `preferences` are reviewers' by question id and override judges; `edits` are chains that reviewers rewrote, as JSON
    lines by path id.
    """
    found, pool = Curation(), SummaryPool()
    for place, (question, candidates) in enumerate(material):
        said = (preferences or {}).get(question.id, ())
        count_stages(found.funnel, candidates)
        best, problem = choose_best(candidates, settings, said)
        if best is not None:
            found.reason.append(SetRow(question.id, best.path, REASON, write_chain(best.steps), problem))
        if problem:
            found.left_out[REASON_SET][problem] += 1
        add_to_pool(pool, place, question, keep_distinct(candidates), None if problem else best, settings)
        pairs = find_pairs(run.id, question.id, candidates, settings, said)
        if not any(pair.excluded is None for pair in pairs):
            found.left_out[PAIRS][TIED if pairs else explain_no_pair(candidates, settings)] += 1
        found.pairs += [replace(pair, edited=edits.get(pair.chosen)) for pair in pairs] if edits else pairs
    found.summary = draw_summary(pool, settings)
    found.left_out[SUMMARY_SET] = pool.left_out
    return found


def count_stages(funnel: Counter[str], candidates: Sequence[Candidate]) -> None:
    """Count a question and its paths: of `paths`, those complete; of these, those correct; of these, those scored."""
    complete = [each for each in candidates if each.status == COMPLETE]
    correct = [each for each in complete if each.outcome == CORRECT]
    funnel.update(
        questions=1,
        with_paths=bool(candidates),
        paths=len(candidates),
        complete=len(complete),
        correct=len(correct),
        scored=sum(each.score is not None for each in correct),
    )
