"""A question opened in Browse: its picture, its ranked paths, and two of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from app import render
from app.pages import address
from insightv_core.records import COMPLETE, Assessment, Path, Question, Run
from insightv_core.store import Store
from insightv_core.store.assessments import judge_calls_of, latest_assessments
from insightv_core.store.browse import PathFilter, PathRow, list_paths

PAGE = 24


def render_question(store: Store, filter: PathFilter, given: Mapping[str, str]) -> str:
    """Return an opened question; `given` may name the paths `path` and `compare`, and the mark `after` of a page."""
    question = store.question(str(filter.question))
    page = list_paths(store, PathFilter(question=question.id), after=given.get("after"), limit=PAGE)
    rows = ranked(page.rows)
    paths = {row.id: store.path(row.id) for row in rows}
    assessments = latest_assessments(store, question.id)
    numbers = {row.id: number for number, row in enumerate(rows, 1)}
    compared = [paths[given[name]] for name in ("path", "compare") if given.get(name) in paths]
    head = (
        f"{render_crumbs(filter, question)}"
        f'<div class="question"><div class="side">{render.render_picture(question.image, question.text)}'
        f'{render_question_facts(question)}</div><div class="main-side"><div class="question-head">'
        f"<h1>{escape(question.text)}</h1>{render_options(question)}"
        f'<p class="truth">truth <strong>{escape(question.answer)}</strong></p></div>'
    )
    if not rows:
        said = f"insightv generate --project {store.file} --paths 4"
        return f'{head}<p class="soft">No paths yet. Write some:</p>{render.render_command(said)}</div></div>'
    if len(compared) == 2:
        body = render_compared(compared[0], compared[1], filter, rows, numbers, assessments)
    else:
        opened = given.get("path") if given.get("path") in paths else rows[0].id
        body = render_ranking(store, filter, rows, paths, assessments, opened)
    more = (
        f'<nav class="pages"><a href="{escape(address(filter, after=page.next))}">more paths ›</a></nav>'
        if page.next
        else ""
    )
    return f"{head}{body}{more}</div></div>"


def ranked(rows: Sequence[PathRow]) -> list[PathRow]:
    """Return paths in the order in which they are read: right answers first, then by score."""
    order = {"correct": 0, None: 1, "unparsed": 2, "wrong": 3}
    return sorted(rows, key=lambda row: (order.get(row.outcome, 1), -(row.score or 0), row.status != COMPLETE))


def render_crumbs(filter: PathFilter, question: Question) -> str:
    """Return where one is, the way back, and to the questions before and after."""
    back = replace(filter, question=None)
    family = question.family or question.source
    within = replace(back, family=question.family or None, source=None if question.family else question.source)
    return (
        f'<nav class="crumbs" aria-label="Where you are"><a href="{escape(address(back))}">Questions</a> › '
        f'<a href="{escape(address(within))}">{render.words(family)}</a> › <code>{escape(question.id[:8])}</code>'
        '<span class="tools"><button class="quiet" data-copy-address>copy link</button>'
        '<a data-neighbour="-1" hidden>‹ prev</a><a data-neighbour="1" hidden>next ›</a></span></nav>'
    )


def render_question_facts(question: Question) -> str:
    """Return what is known about a question beside its text."""
    facts = {
        "family": render.words(question.family) if question.family else "",
        "source": escape(question.source),
        "difficulty": "" if question.level is None else str(question.level),
        "answer type": escape(question.answer_type),
        "id": f"<code>{escape(question.id[:12])}</code>",
    }
    return render.render_facts({name: value for name, value in facts.items() if value})


def render_options(question: Question) -> str:
    """Return the options of multiple choice, unless the text holds them."""
    if not question.options or all(option in question.text for option in question.options):
        return ""
    return "<ol type='A' class='options'>" + "".join(f"<li>{escape(each)}</li>" for each in question.options) + "</ol>"


def render_ranking(
    store: Store,
    filter: PathFilter,
    rows: Sequence[PathRow],
    paths: Mapping[str, Path],
    assessments: Mapping[str, Assessment],
    opened: str | None,
) -> str:
    """Return the paths of a question as a ranking, one of them opened."""
    runs = {row.run: store.run(row.run) for row in rows}
    judges = {each.run: store.run(each.run) for each in assessments.values()}
    replies = judge_replies(store, str(filter.question), assessments)
    best = paths[rows[0].id]
    items = []
    for number, row in enumerate(rows, 1):
        path, assessment = paths[row.id], assessments.get(row.id)
        parting = "" if number == 1 else render_parting(best, path, filter)
        verdicts = assessment.verdicts if assessment else ()
        judge = judges.get(assessment.run) if assessment else None
        reply = replies.get(assessment.call) if assessment and assessment.call else None
        items.append(
            f'<details class="path" id="path-{row.id}"{" open" if row.id == opened else ""}>'
            f"<summary>{render.render_summary(number, row)}</summary>"
            f'<div class="path-body">{render.render_timeline(path.turns, verdicts)}'
            f"{render.render_ending(path, assessment)}{parting}"
            f'<div class="folds">{render.render_raw(path, reply)}'
            f"{render_lineage(path, row, runs[row.run], judge, filter)}</div></div></details>"
        )
    return f'<p class="soft">{describe_paths(rows, runs)}</p><div class="ranking">{"".join(items)}</div>'


def judge_replies(store: Store, question: str, assessments: Mapping[str, Assessment]) -> dict[str, str]:
    """Return the judge's replies about a question, byte for byte, by the ids of the calls."""
    runs = {assessment.run for assessment in assessments.values() if assessment.call}
    return {call.id: call.raw for run in runs for call in judge_calls_of(store, run, question)}


def describe_paths(rows: Sequence[PathRow], runs: Mapping[str, Run]) -> str:
    """Say how many paths there are, how good they are, and who wrote them."""
    correct = sum(row.outcome == "correct" for row in rows)
    scores = [row.score for row in rows if row.score is not None]
    models = sorted({run.model.name for run in runs.values() if run.model})
    parts = [render.plural(len(rows), "path"), f"{correct} correct"]
    parts += [f"best score {max(scores)}"] if scores else []
    parts += [f"written by {escape(', '.join(models))}"] if models else []
    return " · ".join(parts)


def render_parting(best: Path, path: Path, filter: PathFilter) -> str:
    """Return where a path parts from the first of the ranking, with the way to see both side by side."""
    link = escape(address(filter, path=best.id, compare=path.id))
    said = render.describe_parting(best.steps, path.steps)
    return f'<p class="soft">From #1: {said}. <a class="compare" href="{link}">compare with #1</a></p>'


def render_lineage(path: Path, row: PathRow, run: Run, judge: Run | None, filter: PathFilter) -> str:
    """Return where a path comes from: model, draw, prompts, cost, and who judged it."""
    sampling = run.settings.get("sampling", {})
    temperatures = sampling.get("temperatures") or [0.0]
    facts = {
        "path": f"<code>{escape(path.id)}</code>",
        "run": f"<code>{escape(run.id)}</code>, sample {path.sample}",
        "model": model_words(run),
        "draw": f"temperature {temperatures[path.sample % len(temperatures)]:g}, seed {sampling.get('seed', 0)}",
        "prompts": f"version {escape(run.prompt_version)}, code {escape(run.code_version)}",
        "cost": f"{path.tokens:,} tokens, {path.seconds:.1f} s",
        "judged by": f"{model_words(judge)}, run <code>{escape(judge.id[:8])}</code>" if judge else "nobody yet",
        "link": f'<a href="{escape(address(filter, path=path.id))}">open with this path</a>',
    }
    return f'<details class="fold"><summary>lineage</summary>{render.render_facts(facts)}</details>'


def model_words(run: Run) -> str:
    """Return the model of a run with the beginning of its fingerprint."""
    if run.model is None:
        return "rules alone"
    return f"{escape(run.model.name)} <code>{escape(run.model.fingerprint[:8])}</code>"


def render_compared(
    left: Path,
    right: Path,
    filter: PathFilter,
    rows: Sequence[PathRow],
    numbers: Mapping[str, int],
    assessments: Mapping[str, Assessment],
) -> str:
    """Return two paths of a question side by side, with the way to put others there."""
    by_id = {row.id: row for row in rows}
    heads = "".join(
        f'<div class="cell">{render_choice(filter, rows, (left.id, right.id), side)}'
        f'<p class="compared">{render.render_summary(numbers[path.id], by_id[path.id])}</p></div>'
        for side, path in enumerate((left, right))
    )
    verdicts = {path: assessment.verdicts for path, assessment in assessments.items()}
    names = (f"#{numbers[left.id]}", f"#{numbers[right.id]}")
    said = render.describe_parting(left.steps, right.steps)
    return (
        f'<p class="compare-head"><span>{names[0]} and {names[1]}: {said}</span> '
        f'<a href="{escape(address(filter, path=left.id))}">all paths</a></p>'
        f'<div class="aside heads">{heads}</div>{render.render_comparison(left, right, verdicts, names)}'
    )


def render_choice(filter: PathFilter, rows: Sequence[PathRow], chosen: tuple[str, str], side: int) -> str:
    """Return the numbers of all paths as links that put a path on one side of the comparison."""
    links = []
    for number, row in enumerate(rows, 1):
        pair = (row.id, chosen[1]) if side == 0 else (chosen[0], row.id)
        current = ' aria-current="true"' if row.id == chosen[side] else ""
        if row.id == chosen[1 - side]:
            continue
        links.append(f'<a href="{escape(address(filter, path=pair[0], compare=pair[1]))}"{current}>#{number}</a>')
    return f'<nav class="choice" aria-label="{("Left", "Right")[side]} path">{"".join(links)}</nav>'
