"""The command line: `insightv COMMAND`, one thin function a command; a user error prints one line and no traceback."""

import argparse
import os
import sys
from collections.abc import Sequence

from insightv_core import __version__
from insightv_core.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 user error, 2 wrong usage, 130 interrupted."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nano is a folder on disk; nothing is to be asked of a hub
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


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from insightv_core.commands.generate import add_generate_command
    from insightv_core.commands.show import add_show_command
    from insightv_core.nano.commands import add_nano_commands

    parser = argparse.ArgumentParser(prog="insightv", description="Workbench for long-chain visual reasoning.")
    parser.add_argument("--version", action="version", version=f"insightv {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_generate_command(commands)
    add_show_command(commands)
    add_nano_commands(commands)
    return parser
