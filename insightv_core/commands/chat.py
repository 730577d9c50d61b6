"""`insightv chat`: both agents on a picture and your questions, as they write."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.agents import REASONING, Agent, Solution, SolveSettings, solve
from insightv_core.commands.common import (
    add_command,
    add_team_options,
    choose_team,
    load_team,
    print_result,
    stop_on_signal,
)
from insightv_core.errors import UserError
from insightv_core.generate import GenerateSettings
from insightv_core.parse import Unparsed, parse_step
from insightv_core.records import Question, Sampling
from insightv_core.vlm import Event

if TYPE_CHECKING:
    from PIL import Image

PICTURE = "/image "  # begins a line that names another picture


def add_chat_command(commands) -> None:
    """Add `insightv chat`."""
    parser = add_command(
        commands, "chat", run_chat, "let the two agents answer questions about a picture, in the terminal",
        'insightv chat --image chart.png --question "How much more does Mia have than Leo?"',
    )  # fmt: skip
    parser.add_argument("--image", type=Path, required=True, help="the picture")
    parser.add_argument("--question", help="the question; without it you are asked, as often as you like")
    parser.add_argument("--json", action="store_true", help="print one JSON object an answer instead of words")
    add_team_options(parser)
    parser.add_argument("--temperature", type=float, default=0.0, help="of the reasoning agent (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw (%(default)s)")


def run_chat(options: argparse.Namespace) -> int:
    """Answer the question, or one line after the other until there is none."""
    if options.question is not None and not options.question.strip():
        raise UserError("the question is empty: say what you want to know about the picture")
    picture = open_picture(options.image)
    team = choose_team(options)
    reasoning, summary = load_team(options, team)
    sampling = Sampling((options.temperature,), seed=options.seed)
    settings = SolveSettings(GenerateSettings(sampling, style=options.style or team.style))
    print(f"agents: {team.origin}", file=sys.stderr)
    for line in [options.question] if options.question else read_lines():
        if line.startswith(PICTURE):
            try:
                picture = open_picture(Path(line.removeprefix(PICTURE).strip()))
            except UserError as error:
                print(error, file=sys.stderr)
        elif not answer(options, line, picture, (reasoning, summary), settings):
            return 130
    return 0


def answer(
    options: argparse.Namespace, text: str, picture: "Image.Image", agents: tuple[Agent, Agent], settings: SolveSettings
) -> bool:
    """Solve one question and print the chain as it comes; return whether it came to its end."""
    question = Question("question", text, "", "", "terminal")
    with stop_on_signal() as stopped:
        solution = solve(question, picture, *agents, settings, listen=None if options.json else tell_step, stop=stopped)
    if solution is None:
        return False
    print_result(options, asdict(solution), write_words(solution))
    return True


def open_picture(file: Path) -> "Image.Image":
    """Return a picture; raise `UserError` where it cannot be read."""
    from insightv_core.vlm import load_picture

    try:
        return load_picture(file)
    except ValueError as error:
        raise UserError(f"{error}; give a PNG, JPEG or WebP file") from error


def read_lines() -> Iterator[str]:
    """Yield what is typed, line by line, until an empty line or the end of input."""
    asked = sys.stdin.isatty()
    if asked:
        print(f"Ask about the picture. {PICTURE}FILE takes another one, an empty line ends.")
    while True:
        try:
            line = input("> " if asked else "").strip()
        except EOFError:
            return
        if not line:
            return
        yield line


def tell_step(speaker: str, event: Event) -> None:
    """Print a step as soon as it is whole."""
    if speaker != REASONING or not event.done:
        return
    for line in event.text.splitlines():
        step = parse_step(line)
        if not isinstance(step, Unparsed):
            print(f"  {step.summary}: {step.content}", flush=True)


def write_words(solution: Solution) -> str:
    """Return the summary agent's word and what the answer cost."""
    tokens = solution.reasoning_tokens + solution.summary_tokens
    seconds = solution.reasoning_seconds + solution.summary_seconds
    lines = [f"the chain breaks off: {solution.truncated}"] if solution.truncated else []
    if solution.answer is None:
        lines.append(f"the summary agent's reply could not be read: {solution.problem}")
    else:
        lines.append(f"summary agent: the chain is {solution.verdict}")
        lines.append(f"answer: {solution.answer}")
    lines.append(f"{tokens} tokens, {seconds:.1f} s")
    return "\n".join(lines)
