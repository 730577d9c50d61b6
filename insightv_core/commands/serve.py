"""`insightv serve`: the two agents behind an OpenAI-compatible endpoint."""

import argparse
import os
from pathlib import Path

from insightv_core.agents import Agent
from insightv_core.commands.common import add_command, add_model_options, load_model, open_project, positive
from insightv_core.commands.import_questions import megabytes
from insightv_core.errors import UserError
from insightv_core.generate import CHAIN, PROGRESSIVE
from insightv_core.images import MAX_MEGABYTES

KEY = "INSIGHTV_API_KEY"


def add_serve_command(commands) -> None:
    """Add `insightv serve`."""
    parser = add_command(
        commands, "serve", run_serve, "answer OpenAI-compatible requests with the two agents, on this machine alone",
        "insightv serve --model nano-base --project data/insightv.db --port 8000",
    )  # fmt: skip
    add_model_options(parser)
    parser.add_argument("--port", type=positive, default=8000, help="port on 127.0.0.1 (%(default)s)")
    parser.add_argument("--project", type=Path, metavar="FILE", help="take the newest adapters of both agents from it")
    parser.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter of the reasoning agent")
    parser.add_argument("--summary-model", metavar="MODEL", help="model of the summary agent (the same)")
    parser.add_argument("--summary-adapter", metavar="FOLDER", help="LoRA adapter of the summary agent")
    parser.add_argument(
        "--style", choices=(PROGRESSIVE, CHAIN),
        help="one step a turn, or the whole chain in one reply as a trained reasoning agent does (chain where the "
        "reasoning agent has an adapter)",
    )  # fmt: skip
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
    from insightv_core.vlm.loading import load_vlm

    key = os.environ.get(KEY, "")
    if options.api_key and not key:
        raise UserError(f"{KEY} is not set: put the key into the environment, where other users cannot read it")
    adapter, summary_adapter = find_adapters(options)
    vlm = load_model(options)
    same = options.summary_model in (None, options.model)
    other = vlm if same else load_vlm(options.summary_model, device=options.device, dtype=options.dtype)
    style = options.style or (CHAIN if adapter else PROGRESSIVE)
    served = Served(Agent(vlm, adapter), Agent(other, summary_adapter), Agent(vlm), style)
    serve(served, options.port, key=key, max_megabytes=options.max_image_mb)
    return 0


def find_adapters(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return the folders of both agents' adapters: as given, else the project's newest, None without a project."""
    reason, summary = options.adapter, options.summary_adapter
    if options.project:
        from insightv_core.train.run import find_adapter

        with open_project(options) as store:
            reason = reason or find_adapter(store, "reason")
            summary = summary or find_adapter(store, "summary")
    for folder in filter(None, (reason, summary)):
        if not Path(folder).is_dir():
            raise UserError(f"no adapter at {folder}: train one with `insightv sft`, or check the folder")
    return reason, summary
