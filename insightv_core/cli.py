"""The command line: `insightv COMMAND`, one thin function a command; a user error prints one line and no traceback."""

import argparse
import os
import re
import sys
from collections.abc import Sequence

from insightv_core import __version__
from insightv_core.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 user error, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not any(map(names_hub, arguments)):  # nothing is asked of a hub unless the command names it
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except UserError as error:
        print(f"insightv: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("insightv: interrupted; the same command continues where that is supported", file=sys.stderr)
        return 130


def names_hub(argument: str) -> bool:
    """Tell whether an argument names something on the Hugging Face hub: "hf:org/name" or "org/name".

    >>> [names_hub(each) for each in ("hf:lmms-lab/ChartQA", "Qwen/Qwen2.5-VL-7B-Instruct", "data/demo", "nano-base")]
    [True, True, False, False]
    """
    is_id = re.fullmatch(r"[\w.-]+/[\w.-]+", argument) is not None and not argument.startswith(".")
    return argument.startswith("hf:") or (is_id and not os.path.exists(argument.partition("/")[0]))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from insightv_core.commands.app import add_app_command
    from insightv_core.commands.assess import add_assess_command
    from insightv_core.commands.chat import add_chat_command
    from insightv_core.commands.curate import add_curate_command, add_export_command
    from insightv_core.commands.demo import add_demo_command
    from insightv_core.commands.doctor import add_doctor_command
    from insightv_core.commands.dpo import add_dpo_command
    from insightv_core.commands.evaluate import add_evaluate_command
    from insightv_core.commands.generate import add_generate_command
    from insightv_core.commands.import_questions import add_import_command
    from insightv_core.commands.judge_report import add_judge_report_command
    from insightv_core.commands.serve import add_serve_command
    from insightv_core.commands.sft import add_sft_command
    from insightv_core.commands.show import add_show_command
    from insightv_core.commands.spread import add_merge_command, add_spread_command
    from insightv_core.commands.study import add_study_command
    from insightv_core.commands.user import add_user_command
    from insightv_core.nano.commands import add_nano_commands

    parser = argparse.ArgumentParser(prog="insightv", description="Workbench for long-chain visual reasoning.")
    parser.add_argument("--version", action="version", version=f"insightv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_demo_command(commands)
    add_import_command(commands)
    add_generate_command(commands)
    add_assess_command(commands)
    add_judge_report_command(commands)
    add_curate_command(commands)
    add_export_command(commands)
    add_sft_command(commands)
    add_dpo_command(commands)
    add_evaluate_command(commands)
    add_study_command(commands)
    add_spread_command(commands)
    add_merge_command(commands)
    add_show_command(commands)
    add_chat_command(commands)
    add_app_command(commands)
    add_user_command(commands)
    add_serve_command(commands)
    add_doctor_command(commands)
    add_nano_commands(commands)
    return parser
