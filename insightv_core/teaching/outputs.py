"""Run the notebooks and keep what their cells show: `python -m insightv_core.teaching.outputs [NAME ...]`.

A notebook remembers which cells and which weights its outputs come from, so that outdated ones can be told.
"""

import argparse
import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insightv_core.errors import UserError
from insightv_core.nano.model import MODEL_NAMES, find_model
from insightv_core.teaching.classroom import ROOT
from insightv_core.team import find_team

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = ROOT / "notebooks"
LONGEST = 1200  # seconds that a cell may take
# Interactive in JupyterLab, and a picture where a notebook is only looked at.
RENDERERS = "plotly_mimetype+png"
ORIGIN = "insightv"
COLOR_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def fingerprint(cells: list[dict[str, Any]]) -> dict[str, str]:
    """Return what the outputs of a notebook depend on: its cells, weights, and the study where it is shown."""
    from insightv_core.study.published import FILE
    from insightv_core.vlm.local import hash_files

    sources = json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in cells])
    folders = [*map(find_model, MODEL_NAMES)]
    if "room.agents()" in sources:
        team = find_team(None)
        folders += [Path(each) for each in (team.adapter, team.summary_adapter) if each]
    found = {"cells": sources, "models": "".join(map(hash_files, folders))}
    if "load_published()" in sources:
        found["study"] = FILE.read_text()
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in found.items()}


def find_outdated(file: Path) -> str | None:
    """Say why the outputs of a notebook are no longer those of its cells; None where they are."""
    notebook = json.loads(file.read_text())
    known, now = notebook["metadata"].get(ORIGIN), fingerprint(notebook["cells"])
    if known is None:
        return "it was never run"
    changed = [name for name in now if now[name] != known.get(name)]
    return f"its {' and '.join(changed)} changed since it was run" if changed else None


def run_notebook(file: Path, project: Path) -> "NotebookNode":
    """Run a notebook from top to bottom on a project file; return it with its outputs, tidied."""
    import nbclient
    import nbformat

    notebook = nbformat.read(file, 4)
    environment = os.environ | {
        "INSIGHTV_PROJECT": str(project), "PLOTLY_RENDERER": RENDERERS, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    client = nbclient.NotebookClient(
        notebook, timeout=LONGEST, kernel_name="python3", record_timing=False, resources={"metadata": {"path": FOLDER}}
    )
    try:
        client.execute(env=environment)
    except nbclient.exceptions.CellExecutionError as error:
        raise UserError(f"{file.name} stops with an error: {error}") from error
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = shrink(output["data"]["image/png"])
    notebook.metadata[ORIGIN] = fingerprint(notebook.cells)
    return notebook


def shrink(picture: str) -> str:
    """Encode a PNG in base64 anew with a palette: figures have few colours, and lose nothing that one would see."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
        flat = opened.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    encoded = io.BytesIO()
    flat.save(encoded, "png", optimize=True)
    return base64.b64encode(encoded.getvalue()).decode()


def join_streams(outputs: "list[NotebookNode]") -> "list[NotebookNode]":
    """Put what a cell printed piece by piece into one output for each stream, as it looked in the end."""
    kept: list[NotebookNode] = []
    for output in outputs:
        same = [each for each in kept if output.output_type == "stream" and each.get("name") == output.get("name")]
        if same:
            same[0].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = tidy(output.text)
    return kept


def tidy(text: str) -> str:
    """Keep of a progress bar what it showed last, and no colours of a terminal."""
    lines = COLOR_CODES.sub("", text).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def write_notebook(file: Path, project: Path) -> None:
    """Run a notebook and write it beside its place first, so that a kill leaves the old one."""
    import nbformat

    notebook = run_notebook(file, project)
    unfinished = file.with_suffix(".unfinished")
    nbformat.write(notebook, unfinished)
    os.replace(unfinished, file)


def main() -> int:
    """Run the notebooks that are named, else those whose outputs are outdated, in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="such as 02_assess; the outdated ones unless given")
    parser.add_argument("--project", type=Path, default=ROOT / "data" / "notebooks.db", help="(%(default)s)")
    options = parser.parse_args()
    if importlib.util.find_spec("kaleido") is None:
        parser.exit(1, "figures are kept as pictures too: pip install kaleido==1.5.0, and a Chrome or Chromium\n")
    files = [FOLDER / f"{name}.ipynb" for name in options.names] or sorted(FOLDER.glob("*.ipynb"))
    for file in files:
        if not file.exists():
            parser.exit(2, f"there is no notebook {file}\n")
        reason = "asked for" if options.names else find_outdated(file)
        print(f"{file.stem}: {reason or 'up to date'}", flush=True)
        if reason:
            try:
                write_notebook(file, options.project)
            except UserError as error:
                parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
