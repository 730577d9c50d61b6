"""The page Runs: what was done and is being done, one run with its curves and lineage, and the rounds of DPO."""

import time
from collections.abc import Sequence
from html import escape

from app import render
from app.access import ADMIN, VIEWER, reading
from app.alarms import WATCHED, progress_alarms, raised_alarms, training_alarms
from app.curves import render_curves, short
from app.overview import ago
from app.pages import Project, link, read_query, section
from app.pair_story import render_pair
from app.start import begin_stage, render_form, render_stages, render_start
from app.workers import Start, Workers, can_continue, continue_run, is_starting, read_tail, stop_run
from app.working import duration
from insightv_core.errors import UserError
from insightv_core.store import Store
from insightv_core.store.margins import Round, list_moved_pairs, list_round_margins
from insightv_core.store.runs import (
    RunRow,
    count_made,
    count_stages,
    find_run,
    list_runs,
    load_alarms,
    load_curves,
    models_of,
    runs_after,
    runs_before,
)

PAGE, PAIRS = 40, 12
CHAINS = 4  # of rounds of DPO that a chart shows, the newest
REFRESH = 3  # seconds
STATES = {
    "done": ("good", "✓", "done"),
    "failed": ("bad", "✕", "failed"),
    "stopped": ("none", "–", "stopped"),
    "running": ("hollow", "…", "running"),
    "lost": ("bad", "✕", "killed"),
    "": ("hollow", "○", "unknown"),
}
STAGES = {"sft": "SFT", "dpo": "DPO"}
CHARTS = (
    ("Loss", {"loss": "loss", "eval_loss": "held out"}, False),
    ("Reward margin", {"rewards/margins": "margin"}, True),
    ("Rewards", {"rewards/chosen": "chosen", "rewards/rejected": "rejected"}, True),
    ("Pairs the right way round", {"rewards/accuracies": "share"}, False),
    ("Log-probability of chains", {"logps/chosen": "chosen", "logps/rejected": "rejected"}, False),
    ("Tokens guessed right", {"mean_token_accuracy": "share"}, False),
    ("Gradient norm", {"grad_norm": "norm"}, False),
    ("Learning rate", {"learning_rate": "rate"}, False),
)
LEADS = {
    "generate": ("browse", "its paths in Browse"),
    "curate": ("export", "its training sets in Export"),
    "pairs": ("export", "its pairs in Export"),
    "evaluate": ("results", "its answers in Results"),
    "rounds": ("results", "its answers in Results"),
    "study": ("results", "its answers in Results"),
}


def add_runs_page(project: Project) -> None:
    """Add the page to the app."""

    workers: Workers = {}
    starts: dict[str, Start] = {}

    def show(query: str) -> str:
        given = read_query(query)
        with project.open() as store:
            if "start" in given:
                return render_form(store, project, given)
            if "started" in given:
                return render_start(store, starts, given["started"])
            if "pair" in given:
                return render_pair(store, given["pair"])
            if "run" in given:
                return render_run(store, given["run"], read_number(given.get("after", "0")), workers)
            return render_list(store, given.get("stage"), given.get("before"))

    def go_on(query: str) -> str:
        with project.open() as store:
            run = find_run(store, read_query(query).get("run", ""))
            continue_run(store, run, workers)
            return render_run(store, run.id, workers=workers)

    def stop(query: str) -> str:
        with project.open() as store:
            run = find_run(store, read_query(query).get("run", ""))
            stop_run(run)
            return render_run(store, run.id, workers=workers)

    def begin(query: str) -> str:
        given = read_query(query)
        with project.open() as store:
            try:
                key = begin_stage(store, project, starts, given)
            except UserError as error:
                return render_form(store, project, given, render.render_problem(str(error)))
        return f'<p class="soft" data-go="{link("runs", started=key)}">starting …</p>'

    section("runs", [reading(VIEWER, show), *(reading(ADMIN, each) for each in (go_on, stop, begin))])


def read_number(text: str) -> int:
    """Return a whole number of an address."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f"{text!r} in the address is no whole number: open this page from its first one")
    return int(text)


# -- the list ----------------------------------------------------------------------------------------------------------


def render_list(store: Store, stage: str | None = None, before: str | None = None) -> str:
    """Return a page of runs, newest first, with the rounds of DPO below."""
    counts = count_stages(store)
    if not counts:
        command = render.render_command(f"insightv generate --project {store.file} --limit 40 --paths 4")
        said = f"<p>Nothing has run in this project yet. Start a stage here, or in a terminal:</p>{command}"
        return f'<h1>Runs</h1>{render_stages()}<div class="empty">{said}</div>'
    found = list_runs(store, stage=stage, before=read_mark(before), limit=PAGE + 1)
    shown = found[:PAGE]
    chips = "".join(
        f'<a class="chip" href="{link("runs", stage=None if name == stage else name)}"'
        f"{CURRENT if name == stage else ''}>{STAGES.get(name, render.words(name))} "
        f'<span class="number">{number:,}</span></a>'
        for name, number in counts.items()
    )
    older = f"{shown[-1].updated!r}-{shown[-1].id}" if len(found) > PAGE else None
    pages = [f'<a href="{link("runs", stage=stage)}">« newest</a>'] if before else []
    pages += [f'<a href="{link("runs", stage=stage, before=older)}" rel="next">older runs ›</a>'] if older else []
    nav = f'<nav class="pages" aria-label="Pages">{"".join(pages)}</nav>' if pages else ""
    rounds = list_round_margins(store) if stage in (None, "dpo") and not before else []
    return (
        f'<div{refreshing(shown)}><h1>Runs</h1>{render_stages()}<p class="chips stages"><span class="soft">Show</span>'
        f"{chips}</p>{render_rows(shown)}{nav}"
        f"{render_rounds(rounds)}</div>"
    )


CURRENT = ' aria-current="true"'


def read_mark(text: str | None) -> tuple[float, str] | None:
    """Return where a page of runs goes on."""
    if text is None:
        return None
    updated, _, run = text.partition("-")
    try:
        return float(updated), run
    except ValueError:
        raise UserError(f"the mark {text!r} does not belong to this list: open it from its first page") from None


def refreshing(runs: Sequence[RunRow], starting: bool = False) -> str:
    """Return the mark by which the script shows a page anew while something on it runs, or starts to."""
    return f' data-refresh="{REFRESH}"' if starting or any(run.alive for run in runs) else ""


def render_rows(runs: Sequence[RunRow]) -> str:
    """Return runs as a table."""
    if not runs:
        return '<p class="empty">No run of this stage. <a href="?tab=runs">All runs</a>.</p>'
    rows = [
        (
            f'<a href="{link("runs", run=run.id)}">{escape(stage_words(run))}</a> '
            f'<code class="soft">{escape(run.id[: render.SHORT_ID])}</code>',
            escape(run.model or "–"), state_mark(run), progress(run), rate_words(run), duration(run.seconds()),
            escape(ago(run.updated)),
        )
        for run in runs
    ]  # fmt: skip
    heads = (
        ("run", False), ("model", False), ("state", False), ("done", True), ("a second", True), ("time", True),
        ("last seen", True),
    )  # fmt: skip
    return render.render_table(heads, rows, "Runs")


def stage_words(run: RunRow) -> str:
    """Return what a run does: its stage, with the agent that it trains or the benchmark that it answers."""
    which = run.settings.get("role") or run.settings.get("benchmark") or ""
    mode = run.settings.get("mode") if run.stage == "assess" else None
    return " ".join(filter(None, (STAGES.get(run.stage, run.stage), which, mode)))


def state_mark(run: RunRow) -> str:
    """Return the state of a run: a glyph with its word."""
    return render.mark(STATES, "lost" if run.alive is False else run.status, word=True)


def progress(run: RunRow) -> str:
    """Return how much is done, of how much where that is known, with a bar while it runs."""
    if run.total is None:
        return f"{run.done:,}"
    bar = f'<progress max="{max(run.total, 1)}" value="{run.done}" aria-label="done"></progress> ' if run.alive else ""
    return f"{bar}{run.done:,} / {run.total:,}"


def rate_words(run: RunRow) -> str:
    """Return what a run did a second, pauses included."""
    if run.rate is None or run.stage == "curate":
        return "–"
    return f'<span title="on average since its start, pauses included">{short(run.rate)}</span>'


# -- one run -----------------------------------------------------------------------------------------------------------


def render_run(store: Store, run_id: str, after: int = 0, workers: Workers | None = None) -> str:
    """Return a run opened: progress, alarms, curves, what it came from and led to, and its settings."""
    run = find_run(store, run_id)
    now = time.time()
    curves = load_curves(store, run.id, [name for _, names, _ in CHARTS for name in names])
    alarms = progress_alarms(run.status, run.alive, now - run.updated, run.message)
    alarms += training_alarms({name: curve for name, curve in curves.items() if name in WATCHED})
    alarms += raised_alarms(load_alarms(store, run.id))
    rounds = [each for each in list_round_margins(store) if each.run == run.id] if run.stage == "dpo" else []
    name = stage_words(run) + "".join(f", round {each.number}" for each in rounds)
    lead = LEADS.get(run.stage)
    leading = f' · <a href="{link(lead[0], run=run.id)}">{lead[1]}</a>' if lead and run.done else ""
    starting = is_starting(run, workers or {})
    return (
        f'<div{refreshing([run], starting)}><nav class="crumbs" aria-label="Where you are">'
        f'<a href="?tab=runs">Runs</a> › '
        f'<a href="{link("runs", stage=run.stage)}">{STAGES.get(run.stage, render.words(run.stage))}</a> › '
        f"<code>{escape(run.id[: render.SHORT_ID])}</code><span class='tools'>"
        f'<button class="quiet" data-copy-address>copy link</button></span></nav>'
        f'<h1>{escape(name[:1].upper() + name[1:])}</h1><p class="run-state">{state_mark(run)}'
        f'<span class="soft">{escape(ago(run.updated, now))}{leading}</span></p>{render_alarms(alarms)}'
        f'<div class="run"><div class="run-facts">{render_progress_facts(run, now)}{render_lineage(store, run)}'
        f"{render_settings(run)}</div><div>{render_command(store, run, starting)}{render_charts(curves)}"
        f"{''.join(render_moved(store, each, after) for each in rounds)}</div></div></div>"
    )


def render_alarms(alarms: Sequence[str]) -> str:
    """Return the alarms as a list, nothing where there are none."""
    lines = "".join(f'<li><span class="mark bad" aria-hidden="true">!</span> {escape(each)}</li>' for each in alarms)
    return f'<ul class="alarms" aria-label="Alarms">{lines}</ul>' if alarms else ""


def render_progress_facts(run: RunRow, now: float) -> str:
    """Return how far a run is, and who does it."""
    facts = {
        "done": progress(run),
        "a second": rate_words(run),
        "time left": duration(run.seconds_left) if run.seconds_left is not None else "",
        "time": duration(run.seconds(now)),
        "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
        "model": f"{escape(run.model or '')} <code>{escape((run.fingerprint or '')[:8])}</code>" if run.model else "",
        "prompts": f"version {escape(run.prompt_version)}",
        "code": escape(run.code_version),
    }
    return render.render_facts({name: value for name, value in facts.items() if value})


def render_command(store: Store, run: RunRow, starting: bool) -> str:
    """Return the command that started the run, the button that continues or stops it, and the end of its log."""
    if not run.command:
        return ""
    over = run.status == "done"
    said = "The command that made it; again it adds nothing" if over else "The same command continues it"
    button = CONTINUE if not over and can_continue(store, run) else ""
    if starting:
        button = '<p class="soft" role="status">starting …</p>'
    elif run.alive:
        button = STOP
    tail = read_tail(store, run.id)
    log = (
        f'<details class="fold" open><summary>end of its log</summary><pre>{escape(tail)}</pre></details>'
        if tail
        else ""
    )
    return f'<p class="soft">{said}:</p><p class="run-command">{render.render_command(run.command)}</p>{button}{log}'


CONTINUE = '<p class="act"><button data-action="go_on" data-busy="starting …">Continue</button></p>'
STOP = '<p class="act"><button data-action="stop" data-busy="asked to stop …">Stop</button></p>'


def render_charts(curves: dict[str, list[tuple[float, float]]]) -> str:
    """Return the charts of what was measured while training."""
    charts = "".join(
        render_curves(title, {name: curves[key] for key, name in names.items() if key in curves}, zero=zero)
        for title, names, zero in CHARTS
    )
    return f'<section aria-label="Curves"><div class="charts">{charts}</div></section>' if charts else ""


def render_lineage(store: Store, run: RunRow) -> str:
    """Return what a run came from, what it made, and what was made of that."""
    made = [f"{number:,} {escape(name)}" for name, number in count_made(store, run.id).items()]
    made += [
        f"{escape(model['kind'])} {escape(model['name'])} <code>{escape(model['fingerprint'][:8])}</code>"
        for model in models_of(store, run.id)
    ]
    lists = {
        "Made from": [run_link(each) for each in runs_before(store, run)],
        "Made": made,
        "Used by": [run_link(each) for each in runs_after(store, run)],
    }
    return "".join(
        f'<h2>{title}</h2><ul class="lineage">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'
        for title, lines in lists.items()
        if lines
    )


def run_link(run: RunRow) -> str:
    """Return a run as a link with its state where that is not done."""
    state = "" if run.status == "done" else f" {state_mark(run)}"
    return (
        f'<a href="{link("runs", run=run.id)}">{escape(stage_words(run))}</a> '
        f'<code class="soft">{escape(run.id[: render.SHORT_ID])}</code>{state}'
    )


def render_settings(run: RunRow) -> str:
    """Return every setting that changes what the run makes."""
    facts = {
        name.replace("_", " "): f"<code>{escape(write_setting(value))}</code>" for name, value in flat(run.settings)
    }
    return (
        f'<details class="fold" open><summary>settings</summary>{render.render_facts(facts)}</details>' if facts else ""
    )


def flat(settings: dict, before: str = "") -> list[tuple[str, object]]:
    """Return nested settings as one list, without what the lineage says already."""
    found: list[tuple[str, object]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            found += [] if name == "inputs" else flat(value, f"{before}{name} ")
        elif name not in ("adapters", "adapter", "curation"):
            found.append((f"{before}{name}", value))
    return found


def write_setting(value: object) -> str:
    """Return a setting as people write it."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return ", ".join(map(write_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- rounds of DPO -----------------------------------------------------------------------------------------------------


def render_rounds(rounds: Sequence[Round]) -> str:
    """Return the rounds of DPO as a table, with the mean margin over the rounds where there are several."""
    if not rounds:
        return ""
    rows = [
        (
            f'<a href="{link("runs", run=each.run)}">round {each.number}</a>',
            f'<code class="soft">{escape(each.reference[: render.SHORT_ID])}</code>',
            f'<code class="soft">{escape(each.policy[: render.SHORT_ID])}</code>', f"{each.beta:g}",
            "–" if each.mean is None else f"{each.mean:+.3g}",
            "–" if each.above is None else f"{each.above:.0%}", f"{each.pairs:,}",
        )
        for each in rounds
    ]  # fmt: skip
    heads = (
        ("round", False), ("from", False), ("to", False), ("beta", True), ("mean margin", True), ("above 0", True),
        ("n pairs", True),
    )  # fmt: skip
    means = {
        f"from {chain[0].reference[: render.SHORT_ID]}": [
            (each.number, each.mean) for each in chain if each.mean is not None
        ]
        for chain in follow_rounds(rounds)
    }  # fmt: skip
    several = {name: curve for name, curve in means.items() if len(curve) > 1}
    chart = render_curves("Mean margin", dict(list(several.items())[-CHAINS:]), x_name="round", zero=True)
    return (
        '<section class="rounds"><h2>Rounds of DPO</h2><p class="soft">The margin of a pair is beta × how much more '
        "likely its chosen chain became than its rejected one, in nats, against the adapter that the round started "
        f"from.</p>{render.render_table(heads, rows, 'Rounds of DPO')}{chart}</section>"
    )


def follow_rounds(rounds: Sequence[Round]) -> list[list[Round]]:
    """Return the rounds in chains, the oldest first, in each of which a round goes on from the one before it."""
    chains: list[list[Round]] = []
    for each in sorted(rounds, key=lambda round: (round.number, round.created)):
        before = next((chain for chain in chains if chain[-1].run == each.previous), None)
        if before is None:
            chains.append([each])
        else:
            before.append(each)
    return sorted(chains, key=lambda chain: chain[0].created)


def render_moved(store: Store, round: Round, after: int) -> str:
    """Return the pairs of a round by margin, the lowest first."""
    found = list_moved_pairs(store, round, after=after, limit=PAIRS + 1)
    if not found:
        return ""
    rows = [
        (
            f'<a href="{link("runs", pair=each.id)}">{escape(each.text)}</a>', render.words(each.reason),
            f'<span class="{"below" if each.margin < 0 else ""}">{each.margin:+.3g}</span>',
        )
        for each in found[:PAIRS]
    ]  # fmt: skip
    nav = f'<a href="{link("runs", run=round.run)}">« lowest</a>' if after else ""
    if len(found) > PAIRS:
        nav += f'<a href="{link("runs", run=round.run, after=after + PAIRS)}" rel="next">next pairs ›</a>'
    heads = (("pair", False), ("chosen by", False), ("margin", True))
    mean = "" if round.mean is None else f"mean {short(round.mean)}, {round.above:.0%} above 0, "
    return (
        f'<section class="moved"><h2>Pairs by margin, lowest first <span class="soft">{mean}n = {round.pairs:,}</span>'
        f'</h2>{render.render_table(heads, rows, "Pairs by margin")}<nav class="pages" aria-label="Pages">{nav}</nav>'
        "</section>"
    )
