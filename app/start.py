"""A stage started from a small form: every value goes through the parser of its command before anything runs.

A model is one of those that are offered here, anything else is a number or one of the parser's own choices: nothing
that a page sends becomes a path or an option.
"""

import argparse
import functools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from app import render
from app.pages import Project, link
from app.workers import STAGES, Start, find_start, read_tail, start_stage
from insightv_core.errors import UserError
from insightv_core.store import Store
from insightv_core.store.runs import list_runs

FIELDS = {
    "generate": ("model", "limit", "paths", "temperature", "seed"),
    "assess": ("model", "mode", "judged", "limit", "seed"),
    "curate": ("reason_score", "mid_score", "pairs_per_question", "step_pairs_per_question", "margin", "exclude"),
    "sft": ("role", "model", "epochs", "learning_rate", "batch_size", "lora_rank", "seed"),
    "dpo": ("model", "run_id", "rounds", "questions", "paths", "epochs", "learning_rate", "beta", "evaluate", "seed"),
    "evaluate": ("model", "benchmark", "n", "controls", "no_agents", "seed"),
}
NAMES = {"sft": "SFT", "dpo": "DPO"}
WHAT = {
    "generate": "Write reasoning paths for the questions.",
    "assess": "Tell right from wrong answers, and let a judge score every path.",
    "curate": "Choose paths for the training sets of both agents, and preference pairs.",
    "sft": "Train the reasoning agent or the summary agent on its curated set.",
    "dpo": "Train the reasoning agent in rounds of preference pairs, each sampled from the agent as it then is.",
    "evaluate": "Answer held-out questions with the base model, aloud and with both agents.",
}
LABELS = {
    "run_id": "curated pairs alone", "n": "questions", "limit": "first questions only", "role": "agent",
    "pairs_per_question": "pairs a question", "step_pairs_per_question": "step pairs a question",
    "evaluate": "held-out scenes", "no_agents": "base model alone", "exclude": "leave out misfits",
    "judged": "judged paths", "reason_score": "lowest score", "mid_score": "middle score", "paths": "paths a question",
}  # fmt: skip
MODEL, YES = "model", "yes"
LONGEST = 40  # characters of a value
REFRESH = 1  # seconds
CRUMBS = '<nav class="crumbs" aria-label="Where you are"><a href="?tab=runs">Runs</a> › start</nav>'
CURRENT = ' aria-current="true"'
Parser = argparse.ArgumentParser


@dataclass(frozen=True)
class Field:
    """One value of a form: its option in the command, what it may be, what it says, and what stands for none."""

    name: str
    option: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    hint: str = ""
    flag: bool = False

    @property
    def label(self) -> str:
        """The option in words."""
        return LABELS.get(self.name, (self.option or self.name).lstrip("-").replace("-", " "))


def stage_parser(stage: str) -> Parser:
    """Return the parser of a stage's command; a bad value raises `UserError` in its words."""
    from insightv_core.cli import build_parser

    (commands,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    parser = commands.choices[stage]

    def fail(message: str):
        raise UserError(re.sub(r"^argument [^:]*: ", "", message))

    parser.error = fail  # type: ignore[method-assign]
    return parser


@functools.cache
def stage_fields(stage: str, models: tuple[str, ...]) -> tuple[Field, ...]:
    """Return the fields of a stage's form, as its parser describes them; `models` are those that are offered."""
    parser = stage_parser(stage)
    actions = {action.dest: action for action in parser._actions}
    return tuple(describe(parser, actions[name], models) for name in FIELDS[stage])


def describe(parser: Parser, action: argparse.Action, models: tuple[str, ...]) -> Field:
    """Return an argument of a command as a field."""
    option = action.option_strings[0] if action.option_strings else ""
    words, _, usual = ((action.help or "") % (vars(action) | {"prog": parser.prog})).partition(" (")
    default = action.default
    if isinstance(default, tuple):
        default = ",".join(f"{each:g}" for each in default)
    if action.nargs in (0, "?"):
        return Field(action.dest, option, "no", words, ("no", YES), flag=True)
    if action.dest == MODEL:
        offered = tuple(dict.fromkeys((str(default), *models)))
        return Field(action.dest, option, str(default), "who does it", offered)
    choices = tuple(map(str, action.choices or ()))
    if default is None and choices:
        default = choices[0]
    shown = "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
    return Field(action.dest, option, shown, words, choices, usual.rstrip(")") or "all")


def offered_models(project: Project) -> tuple[str, ...]:
    """Return the models that a form offers: nano's, and those that the app was started with."""
    return tuple(dict.fromkeys(filter(None, ("nano-teacher", "nano-base", project.model, project.base_model))))


# -- from a form to a command ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What a form asks for: the arguments of its command, and what is wrong by field."""

    arguments: tuple[str, ...]
    problems: Mapping[str, str]


def read_form(store: Store, project: Project, stage: str, given: Mapping[str, str]) -> Asked:
    """Return the command that a form stands for; values that are those of the command itself are left out."""
    parser, fields = stage_parser(stage), stage_fields(stage, offered_models(project))
    # A word without an option could be taken for one, as "-h" is: what is none of the choices is told of below.
    sent = {each.name: given.get(each.name, "").strip() for each in fields if not each.option}
    first = tuple(
        sent[each.name] if sent.get(each.name) in each.choices else each.default for each in fields if not each.option
    )
    arguments, problems = [*first, "--project", str(store.file)], {}
    for field in fields:
        value = given.get(field.name, "").strip() or field.default
        try:
            words = read_field(parser, field, value, first)
        except UserError as error:
            problems[field.name] = str(error)
            continue
        arguments += words if field.option and value != field.default else []
    if not problems:
        parser.parse_args(arguments)
    return Asked((stage, *arguments), problems)


def read_field(parser: Parser, field: Field, value: str, first: tuple[str, ...]) -> list[str]:
    """Return one value as words of the command; `UserError` where the command would refuse it."""
    if field.choices and value not in field.choices:
        raise UserError(f"{value[:LONGEST]!r} is none of {', '.join(field.choices)}")
    if field.flag:
        return [field.option] if value == YES else []
    if len(value) > LONGEST or not value.isprintable():
        raise UserError(f"a value has up to {LONGEST} characters")
    if not field.option or not value:
        return []
    joined = f"{field.option}={value}"  # in one word, so that a value is never taken for an option
    parser.parse_args([*first, joined])
    return [joined] if value.startswith("-") else [field.option, value]


def begin_stage(store: Store, project: Project, starts: dict[str, Start], given: Mapping[str, str]) -> str:
    """Start what a form asks for in a process of its own and return under which key it is watched."""
    stage = check_stage(given.get("start", ""))
    asked = read_form(store, project, stage, given)
    if asked.problems:
        name, problem = next(iter(asked.problems.items()))
        raise UserError(f"{name.replace('_', ' ')}: {problem}")
    command = shlex.join(["insightv", *asked.arguments])
    running = [run.command for run in list_runs(store, limit=20) if run.alive]
    if command in running or any(each.arguments == asked.arguments and each.alive for each in starts.values()):
        raise UserError("this very command is running already: watch it in the list of runs")
    return start_stage(store, asked.arguments, starts)


def check_stage(stage: str) -> str:
    """Return a stage that can be started; `UserError` for any other."""
    if stage not in STAGES:
        raise UserError(f"there is no stage {stage[:LONGEST]!r} to start: choose one from Runs")
    return stage


# -- the page ----------------------------------------------------------------------------------------------------------


def render_stages(current: str = "") -> str:
    """Return the stages that can be started, to choose one."""
    items = "".join(
        f'<a class="chip" href="{link("runs", start=stage)}"{CURRENT if stage == current else ""}>'
        f"{NAMES.get(stage, stage)}</a>"
        for stage in STAGES
    )
    return f'<p class="chips starts"><span class="soft">Start</span>{items}</p>'


def render_form(store: Store, project: Project, given: Mapping[str, str], problem: str = "") -> str:
    """Return the form of a stage with the command that it stands for, and the button that runs it."""
    stage = check_stage(given.get("start", ""))
    asked = read_form(store, project, stage, given)
    fields = "".join(
        render_field(field, given.get(field.name, ""), asked.problems.get(field.name, ""))
        for field in stage_fields(stage, offered_models(project))
    )
    if asked.problems:
        act = '<p class="soft">Mend what is marked, then the command is shown here.</p>'
    else:
        command = render.render_command(shlex.join(["insightv", *asked.arguments]))
        act = (
            f'<p class="soft">This runs, here or in a terminal:</p><p class="run-command">{command}</p><p class="act">'
            '<button class="main" data-action="begin" data-busy="starting …">Start</button></p>'
        )
    name = NAMES.get(stage, stage.capitalize())
    return (
        f"{CRUMBS}<h1>{name}</h1>{render_stages(stage)}<p>{WHAT[stage]}</p>{problem}"
        f'<form data-query data-soon class="start" aria-label="Settings of {name}"><div class="fields">{fields}</div>'
        f"</form>{act}"
    )


def render_field(field: Field, value: str, problem: str) -> str:
    """Return one field of the form, with what is wrong with it."""
    value = value or ("" if field.choices else field.default)
    said = f' aria-invalid="true" aria-describedby="f_{field.name}"' if problem else ""
    note = f'<span class="mark bad" id="f_{field.name}">{escape(problem)}</span>' if problem else ""
    if field.choices:
        items = "".join(
            f'<option value="{"" if choice == field.default else escape(choice)}"'
            f"{' selected' if choice == value else ''}>{escape(choice)}</option>"
            for choice in field.choices
        )
        control = f'<select name="{field.name}"{said}>{items}</select>'
    else:
        hint = "" if field.default else f' placeholder="{escape(field.hint)}"'
        control = (
            f'<input name="{field.name}" value="{escape(value)}" maxlength="{LONGEST}" autocomplete="off"{hint}{said}>'
        )
    return f'<label title="{escape(field.help)}"><span>{escape(field.label)}</span>{control}{note}</label>'


def render_start(store: Store, starts: dict[str, Start], key: str) -> str:
    """Return how a stage that was started begins; once its run is known, the way there."""
    start = find_start(starts, key)
    if start.run:
        return f'<p class="soft" data-go="{link("runs", run=start.run)}">It runs.</p>'
    command = render.render_command(shlex.join(["insightv", *start.arguments]))
    tail = read_tail(store, key)
    log = f"<pre>{escape(tail)}</pre>" if tail else ""
    head = f"{CRUMBS}<h1>Start</h1>{command}"
    if start.alive:
        return f'<div data-refresh="{REFRESH}">{head}<p class="soft" role="status">starting …</p>{log}</div>'
    said = "It ended without a run. Its last words:" if start.process.poll() else "Nothing was left to do:"
    again = f'<p><a href="{link("runs", start=start.arguments[0])}">change its settings</a></p>'
    return f'{head}<p class="problem" role="alert">{said}</p>{log}{again}'
