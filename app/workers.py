"""Runs as processes of their own: a stage started or continued in the background, a running one asked to stop."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.records import identify
from insightv_core.store import Store, open_store
from insightv_core.store.runs import RunRow, list_runs

STAGES = ("generate", "assess", "curate", "sft", "dpo", "evaluate")
TAIL = 4000  # bytes of a log
LINES = 24
LOOK_EVERY = 0.3  # seconds
Workers = dict[str, subprocess.Popen]


def read_command(store: Store, run: RunRow) -> list[str]:
    """Return the arguments of the command that continues a run.

    Raises `UserError` where that is no command of one stage, or works on another project file.
    """
    words = shlex.split(run.command or "")
    if run.stage not in STAGES or words[:2] != ["insightv", run.stage]:
        raise UserError(f"run {run.id} was started by {run.command or 'no command'!r}: continue it in a terminal")
    named = [value for option, value in zip(words, words[1:], strict=False) if option == "--project"]
    if any(Path(value).resolve() != store.file.resolve() for value in named):
        raise UserError(f"the command of run {run.id} names the project file {named[-1]}: continue it in a terminal")
    return words[1:]


def can_continue(store: Store, run: RunRow) -> bool:
    """Tell whether the app can continue a run."""
    try:
        return bool(read_command(store, run))
    except UserError:
        return False


def continue_run(store: Store, run: RunRow, workers: Workers) -> None:
    """Start the command of a run that is not running in a process that outlives the app; its words go to a log."""
    if run.alive or is_starting(run, workers):
        raise UserError(f"run {run.id} is running already")
    arguments, log = read_command(store, run), log_file(store, run.id)
    workers[run.id] = process = spawn(store, arguments, log)
    # Waited for, as else it would stay in the list of processes after its end.
    threading.Thread(target=process.wait, name=f"run {run.id}", daemon=True).start()


def spawn(store: Store, arguments: Sequence[str], log: Path) -> subprocess.Popen:
    """Start a command on a project in a process that outlives the app; its words go to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "insightv_core", *arguments], stdin=subprocess.DEVNULL, stdout=stream,
            stderr=stream, start_new_session=True,
            env=os.environ | {"INSIGHTV_PROJECT": str(store.file.resolve())},
        )  # fmt: skip


@dataclass
class Start:
    """A command that was started here: its process, and the run that it made once that is in the store."""

    arguments: tuple[str, ...]
    process: subprocess.Popen
    run: str | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process.poll() is None


def start_stage(store: Store, arguments: tuple[str, ...], starts: dict[str, Start]) -> str:
    """Start the command of a stage and return the key under which it is watched."""
    key = uuid.uuid4().hex[:20]
    starts[key] = Start(arguments, spawn(store, arguments, log_file(store, key)))
    threading.Thread(target=follow, args=(store.file, key, starts[key]), name=f"start {key}", daemon=True).start()
    return key


def find_start(starts: dict[str, Start], key: str) -> Start:
    """Return what was started under a key; `UserError` where the app was started again since."""
    if key not in starts:
        raise UserError("what was started here is not known any more: look for it in the list of runs")
    return starts[key]


def follow(file: Path, key: str, start: Start) -> None:
    """Until a process ends, give each run that it makes the log of the process."""
    begun, known = time.time(), set()
    with open_store(file) as store:
        while True:
            over = not start.alive
            for run in reversed(list_runs(store, limit=20)):
                if run.pid == start.process.pid and run.updated >= begun and run.id not in known:
                    known.add(run.id)
                    share_log(log_file(store, key), log_file(store, run.id))
                    start.run = start.run or run.id
            if over:
                return
            time.sleep(LOOK_EVERY)


def share_log(log: Path, other: Path) -> None:
    """Let a log be found under a second name; what is written later is in both."""
    with contextlib.suppress(OSError):  # a file system without links shows the run without its log
        other.unlink(missing_ok=True)
        os.link(log, other)


def is_starting(run: RunRow, workers: Workers) -> bool:
    """Tell whether the process of a run was started and has not yet said so in the store."""
    process = workers.get(run.id)
    return process is not None and process.poll() is None and run.pid != process.pid


def stop_run(run: RunRow) -> None:
    """Ask the process of a run to stop, as Ctrl-C does; it saves what it has.

    Raises `UserError` where the process is gone, or its number belongs to something else by now.
    """
    import psutil

    try:
        process = psutil.Process(run.pid or 0)
        ours = any("insightv" in word for word in process.cmdline()) and process.create_time() <= run.updated + 1
        if run.alive and ours:
            process.send_signal(signal.SIGINT)
            return
    except psutil.Error:
        pass
    raise UserError(f"the process of run {run.id} is not there any more: nothing was stopped")


def log_file(store: Store, run: str) -> Path:
    """Return where the words of a run that the app started are kept."""
    # Ids are hexadecimal, but a project file from elsewhere may say anything.
    name = run if re.fullmatch("[0-9a-f]{20}", run) else identify(run)
    return store.folder / "runs" / f"{name}.log"


def read_tail(store: Store, run: str) -> str:
    """Return the last lines of a run's log, of each progress bar its last state; nothing where there is none."""
    log = log_file(store, run)
    if not log.is_file():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - TAIL, 0))
        text = stream.read().decode(errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join([line for line in lines if line.strip()][-LINES:])
