"""`insightv app`: the app in the browser."""

import argparse
from pathlib import Path

from insightv_core.commands.common import add_command, positive
from insightv_core.store import DEFAULT_PROJECT, project_file


def add_app_command(commands) -> None:
    """Add `insightv app`."""
    parser = add_command(
        commands, "app", run_app, "open a project in the browser: browse its paths, chat with the agents",
        "insightv app data/insightv.db",
    )  # fmt: skip
    parser.add_argument(
        "project", nargs="?", type=Path, metavar="PROJECT",
        help=f"project file, started where there is none (INSIGHTV_PROJECT where that is set, else {DEFAULT_PROJECT})",
    )  # fmt: skip
    parser.add_argument("--port", type=positive, help="port on this machine (7860, or the next free one)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on (%(default)s: this machine alone; 0.0.0.0: whoever reaches it)",
    )  # fmt: skip
    parser.add_argument(
        "--open-to-all", action="store_true", help="let other machines in even where the project has no account"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="model of both agents in the chat (the agents that the project trained, else nano's own)",
    )
    parser.add_argument(
        "--base-model", default="nano-base", metavar="MODEL",
        help="model that answers beside them without reasoning (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")


def run_app(options: argparse.Namespace) -> int:
    """Serve the app until it is interrupted."""
    from app.main import serve
    from app.pages import Project

    serve(
        Project(project_file(options.project), options.model, options.base_model), host=options.host, port=options.port,
        open_to_all=options.open_to_all, browser=not options.no_browser,
    )  # fmt: skip
    return 0
