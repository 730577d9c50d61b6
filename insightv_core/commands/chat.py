"""`insightv solve`: both agents on one picture and question, as they write."""

import argparse
from dataclasses import asdict
from pathlib import Path

from insightv_core.agents import REASONING, Agent, Solution, SolveSettings, solve
from insightv_core.commands.common import add_command, add_model_options, load_model, print_result, stop_on_signal
from insightv_core.errors import UserError
from insightv_core.generate import CHAIN, PROGRESSIVE, GenerateSettings
from insightv_core.parse import Unparsed, parse_step
from insightv_core.records import Question, Sampling
from insightv_core.vlm import Event


def add_solve_command(commands) -> None:
    """Add `insightv solve`."""
    parser = add_command(
        commands, "solve", run_solve, "let the two agents answer a question about a picture",
        'insightv solve --image chart.png --question "How much more does Mia have than Leo?"',
    )  # fmt: skip
    parser.add_argument("--image", type=Path, required=True, help="the picture")
    parser.add_argument("--question", required=True, help="the question")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    add_model_options(parser)
    parser.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter of the reasoning agent")
    parser.add_argument("--summary-model", metavar="MODEL", help="model of the summary agent (the same)")
    parser.add_argument("--summary-adapter", metavar="FOLDER", help="LoRA adapter of the summary agent")
    parser.add_argument("--temperature", type=float, default=0.0, help="of the reasoning agent (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw (%(default)s)")
    parser.add_argument(
        "--style", choices=(PROGRESSIVE, CHAIN), default=PROGRESSIVE,
        help="one step a turn, or the whole chain in one reply as a trained reasoning agent does (%(default)s)",
    )  # fmt: skip


def run_solve(options: argparse.Namespace) -> int:
    """Solve one question and print the chain as it comes."""
    from insightv_core.vlm import load_picture
    from insightv_core.vlm.loading import load_vlm

    if not options.question.strip():
        raise UserError("the question is empty: say what you want to know about the picture")
    try:
        picture = load_picture(options.image)
    except ValueError as error:
        raise UserError(f"{error}; give a PNG, JPEG or WebP file") from error
    vlm = load_model(options)
    same = options.summary_model in (None, options.model)
    other = vlm if same else load_vlm(options.summary_model, device=options.device, dtype=options.dtype)
    sampling = Sampling((options.temperature,), seed=options.seed)
    settings = SolveSettings(GenerateSettings(sampling, style=options.style))
    question = Question("question", options.question, "", "", "terminal")
    with stop_on_signal() as stopped:
        solution = solve(
            question, picture, Agent(vlm, options.adapter), Agent(other, options.summary_adapter), settings,
            listen=None if options.json else tell_step, stop=stopped,
        )  # fmt: skip
    if solution is None:
        return 130
    print_result(options, asdict(solution), write_words(solution))
    return 0


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
