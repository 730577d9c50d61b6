"""Looking a machine over: what the workbench needs, whether it is there, and what to do where it is not."""

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from insightv_core.errors import UserError

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
OLDEST_PYTHON = (3, 11)
ROOM_BYTES = 2 << 30  # a project of a hundred thousand paths, its pictures, and checkpoints of nano
GOOD, NOTE, BAD = "ok", "note", "mend"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its state ("ok", "note" or "mend"), what was found, and what to do about it."""

    state: str
    what: str
    found: str
    advice: str = ""


def examine(project: Path, models: tuple[str, ...] = ("nano-base", "nano-teacher")) -> Iterator[Finding]:
    """Look over Python, packages, device, disk, models and the project file, in this order."""
    yield check_python(sys.version_info[:2])
    yield from check_packages(read_pins(REQUIREMENTS))
    yield check_device()
    yield check_disk(project)
    for name in models:
        yield check_model(name)
    yield check_project(project)
    yield check_browser()


def check_python(version: tuple[int, int]) -> Finding:
    """Check that Python is new enough."""
    found = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return Finding(GOOD, "Python", found)
    return Finding(BAD, "Python", found, "install Python 3.11 or newer and make a new virtual environment with it")


def read_pins(file: Path) -> dict[str, str]:
    """Return the pinned version of each package of a requirements file; none where there is no such file."""
    if not file.exists():
        return {}
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s#]+)", file.read_text(), re.MULTILINE))


def check_packages(pins: dict[str, str]) -> Iterator[Finding]:
    """Compare what is installed with what the workbench is tested with: one finding for all that agree."""
    agreeing = 0
    for name, pinned in pins.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(BAD, name, "not installed", f"pip install {name}=={pinned}")
            continue
        if installed.partition("+")[0] == pinned:  # torch calls its builds 2.13.0+cpu and the like
            agreeing += 1
        else:
            yield Finding(NOTE, name, f"{installed}, tested with {pinned}", f"pip install {name}=={pinned}")
    if agreeing:
        yield Finding(GOOD, "packages", f"{agreeing} of {len(pins)} as tested")


def check_device() -> Finding:
    """Say where models run and in which dtype a large one would."""
    try:
        import torch
    except ImportError as error:
        return Finding(BAD, "device", str(error), "pip install -r requirements.txt")
    from insightv_core.vlm.local import SMALL_MODEL, choose_dtype

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        where = f"{torch.cuda.device_count()} GPU, the first {torch.cuda.get_device_name(0)} with {memory:.0f} GiB"
        return Finding(GOOD, "device", f"{where}; large models in {_dtype(choose_dtype(SMALL_MODEL, 'cuda'))}")
    dtype = _dtype(choose_dtype(SMALL_MODEL, "cpu"))
    threads = torch.get_num_threads()
    found = f"CPU with {threads} thread{'s' * (threads != 1)}; large models in {dtype}"
    advice = "nano needs no more; for a 7B install a CUDA build of torch, or use a server with --model http://..."
    if threads > 1:  # two processes that fight for the cores were measured to take six times as long as with half each
        advice += f"; before you run two commands at once, set OMP_NUM_THREADS={threads // 2} for each"
    return Finding(NOTE, "device", found, advice)


def _dtype(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_disk(project: Path) -> Finding:
    """Check that the disk of the project file has room."""
    folder = project.absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free at {folder}"
    if free >= ROOM_BYTES:
        return Finding(GOOD, "disk", found)
    return Finding(BAD, "disk", found, "make room, or put the project elsewhere with --project FILE")


def check_model(name: str) -> Finding:
    """Load a model and say how large it is."""
    from insightv_core.vlm.local import load_local

    try:
        vlm = load_local(name)
    except UserError as error:
        return Finding(BAD, name, str(error), "restore its folder with `git checkout -- data/models`")
    except ImportError as error:
        return Finding(BAD, name, str(error), "pip install -r requirements.txt")
    return Finding(GOOD, name, f"loads, {vlm.model.num_parameters():,} parameters")


def check_project(project: Path) -> Finding:
    """Open the project file, where there is one."""
    from insightv_core.store import open_store
    from insightv_core.store.counts import funnel

    if not project.exists():
        return Finding(NOTE, "project", f"no file at {project}", "start one with `insightv demo` or `insightv import`")
    try:
        with open_store(project) as store:
            counts = funnel(store)
    except UserError as error:
        return Finding(BAD, "project", str(error), "give another file with --project")
    return Finding(GOOD, "project", f"{project} with {counts['questions']:,} questions and {counts['paths']:,} paths")


def check_browser() -> Finding:
    """Look for the browser that the tests of the app drive; the app itself opens in any."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Finding(GOOD, "browser for tests", found)
    return Finding(NOTE, "browser for tests", "no Chromium", "install chromium, or the tests of the app are skipped")
