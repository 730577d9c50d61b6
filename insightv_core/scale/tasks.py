"""Tasks of a cluster: a datatrove step that works on one shard, and the executors that run it for all of them.

datatrove keeps logs, numbers and what is completed; a task that failed or was killed goes on when it is run again.
Importing this module loads datatrove: `pip install datatrove==0.10.1`.
"""

import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

import insightv_core
from insightv_core.errors import UserError
from insightv_core.scale.shards import Shard, generate_shard

LOCAL, SLURM, RAY = "local", "slurm", "ray"
EXECUTORS = {LOCAL: LocalPipelineExecutor, SLURM: SlurmPipelineExecutor, RAY: RayPipelineExecutor}
OURS = ("self", "pipeline", "tasks", "workers", "logging_dir")


class GenerateShard(PipelineStep):
    """Generate the paths of the shard with the number of the task, as `insightv generate` with these options does."""

    name = "generate"
    type = "insightv"

    def __init__(self, shards: Sequence[Shard], options: Sequence[str]):
        super().__init__()
        self.shards, self.options = list(shards), list(options)

    def run(self, data=None, rank: int = 0, world_size: int = 1):
        """Work on the shard number `rank`; a shard without questions is done."""
        shard = self.shards[rank]
        if shard.questions:
            with self.track_time("shard"):
                made = generate_shard(shard.file, self.options)
            for name in ("paths", "new_paths", "new_failed", "tokens"):
                self.stat_update(name, value=made[name], unit="shard")
        return data


def run_tasks(
    shards: Sequence[Shard],
    options: Sequence[str],
    logs: Path,
    *,
    executor: str = LOCAL,
    workers: int | None = None,
    more: Mapping[str, object] | None = None,
) -> int:
    """Run a task for each shard, or submit them to a cluster; return how many are done when it returns.

    `workers` tasks run at once, where None is one on this machine and all of them on a cluster. `more` are keywords of
    datatrove's executor, such as the `time` and `partition` that Slurm wants; `UserError` names what does not fit.
    """
    keywords = dict(more or {})
    check_keywords(executor, keywords)
    if executor == SLURM and not keywords.keys() & {"env_command", "condaenv", "venv_path"}:
        keywords["env_command"] = same_environment()
    for number, shard in enumerate(shards):
        if shard.is_new:
            (logs / "completions" / f"{number:05}").unlink(missing_ok=True)
    running = EXECUTORS[executor](
        [GenerateShard(shards, options)], tasks=len(shards), workers=workers or (1 if executor == LOCAL else -1),
        logging_dir=str(logs), **keywords,
    )  # fmt: skip
    if executor == RAY:
        start_ray()
    running.run()
    return len(shards) - len(running.get_incomplete_ranks(skip_completed=True))


def check_keywords(executor: str, more: Mapping[str, object]) -> None:
    """Raise `UserError` for keywords that an executor does not know, or wants and was not given."""
    known = {
        name: each for name, each in inspect.signature(EXECUTORS[executor].__init__).parameters.items()
        if name not in OURS
    }  # fmt: skip
    for name in more:
        if name not in known:
            raise UserError(f"--with {name}: the executor {executor} takes {', '.join(known)}")
    for name, each in known.items():
        if each.default is each.empty and name not in more:
            raise UserError(f"the executor {executor} wants {name}: add --with {name}=...")


def same_environment() -> str:
    """Return the shell command that lets a task of Slurm find this Python's programs and this package."""
    programs, package = Path(sys.executable).parent, Path(insightv_core.__file__).parents[1]
    return f"export PATH={shlex.quote(str(programs))}:$PATH PYTHONPATH={shlex.quote(str(package))}:$PYTHONPATH"


def start_ray() -> None:
    """Connect to the Ray cluster that RAY_ADDRESS names, or start one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise UserError("the executor ray needs Ray: pip install 'datatrove[ray]==0.10.1'") from error
    ray.init(ignore_reinit_error=True)
