"""`insightv serve`: the two agents behind an OpenAI-compatible endpoint."""

import argparse
import os

from insightv_core.agents import Agent
from insightv_core.commands.common import add_command, add_team_options, choose_team, load_team, positive
from insightv_core.commands.import_questions import megabytes
from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES

KEY = "INSIGHTV_API_KEY"


def add_serve_command(commands) -> None:
    """Add `insightv serve`."""
    parser = add_command(
        commands, "serve", run_serve, "answer OpenAI-compatible requests with the two agents, on this machine alone",
        "insightv serve --project data/insightv.db --port 8000",
    )  # fmt: skip
    add_team_options(parser)
    parser.add_argument("--port", type=positive, default=8000, help="port on 127.0.0.1 (%(default)s)")
    parser.add_argument(
        "--api-key", action="store_true", help=f"insist on a key; the environment's {KEY} is asked for where it is set"
    )
    parser.add_argument(
        "--max-image-mb", type=megabytes, default=MAX_MEGABYTES, metavar="MB",
        help="refuse larger pictures (%(default)g)",
    )  # fmt: skip


def run_serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from insightv_core.serve.asks import Served
    from insightv_core.serve.server import serve

    key = os.environ.get(KEY, "")
    if options.api_key and not key:
        raise UserError(f"{KEY} is not set: put the key into the environment, where other users cannot read it")
    team = choose_team(options)
    reasoning, summary = load_team(options, team)
    served = Served(reasoning, summary, Agent(reasoning.vlm), options.style or team.style)
    print(f"agents: {team.origin}", flush=True)
    serve(served, options.port, key=key, max_megabytes=options.max_image_mb)
    return 0
