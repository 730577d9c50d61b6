"""Training sets as `datasets.Dataset` and as folders that other tools read, and back.

The columns are those of TRL's conversational layouts for pictures: `images` with `prompt` and `completion`, or with
`messages`, for supervised training; `images` with `prompt`, `chosen` and `rejected` for preferences. The contents of
messages are plain strings, before the first of which trainers put the picture: the order of all our prompts. Further
columns say where a row comes from; trainers leave them alone.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.curate.rows import TrainingRow, training_rows
from insightv_core.errors import UserError
from insightv_core.images import first_line
from insightv_core.records import identify
from insightv_core.store import Store
from insightv_core.store.curation import ROUND_PAIRS, count_rows, load_manifest

if TYPE_CHECKING:
    from datasets import Dataset, Features

TRL, LLAMA_FACTORY, JSONL, PARQUET = "trl", "llama-factory", "jsonl", "parquet"
FORMATS = (TRL, LLAMA_FACTORY, JSONL, PARQUET)
APART, TOGETHER = LAYOUTS = ("prompt", "messages")
ROWS = {LLAMA_FACTORY: "rows.json", JSONL: "rows.jsonl", PARQUET: "data/train-00000-of-00001.parquet", TRL: "data"}
SENDERS = {"user": "human", "assistant": "gpt"}
IMAGE_MARK = "<image>"
SIDES = ("chosen", "rejected")
MANIFEST = "manifest.json"


# -- rows as columns ---------------------------------------------------------------------------------------------------


def to_dataset(rows: Iterable[TrainingRow], image_file: Callable[[str], Path], *, layout: str = APART) -> "Dataset":
    """Return rows as a dataset that TRL's trainers take as it is; pictures stay in their files until they are read.

    Raises `UserError` where there are no rows, as neither columns nor trainers would make sense.
    """
    from datasets import Dataset

    found = list(rows)
    if not found:
        raise UserError("the set has no rows: look at what `insightv curate` left out, and lower its thresholds")
    preferences = found[0].rejected is not None
    features = describe_columns(preferences, layout)
    columns = (write_columns(row, layout) | {"images": [str(image_file(row.question.image))]} for row in found)
    return Dataset.from_list([{name: row[name] for name in features} for row in columns], features=features)


def describe_columns(preferences: bool, layout: str = APART) -> "Features":
    """Return the columns of a training set or of preference pairs, with their types."""
    from datasets import Features, Image, List, Value

    messages = List({"role": Value("string"), "content": Value("string")})
    text, number = Value("string"), Value("int64")
    if preferences:
        spoken = {"prompt": messages, "chosen": messages, "rejected": messages}
        origin = {"reason": text, "margin": Value("float64"), "shared_steps": number, "path": text,
                  "rejected_path": text}  # fmt: skip
    else:
        spoken = {"prompt": messages, "completion": messages} if layout == APART else {"messages": messages}
        origin = {"path": text}
    asked = {"question": text, "answer": text, "image_sha256": text, "source": text, "family": text, "level": number}
    return Features({"id": text, "images": List(Image()), **spoken, "kind": text, **origin, **asked})


def write_columns(row: TrainingRow, layout: str = APART) -> dict:
    """Return a row by column, without its picture, which has to be called `images` and nothing else `image`."""
    prompt = [flatten_message(message) for message in row.prompt]
    question = row.question
    reply = [{"role": "assistant", "content": row.completion}]
    if row.rejected is not None:
        rejected = [{"role": "assistant", "content": row.rejected}]
        spoken = {"prompt": prompt, "chosen": reply, "rejected": rejected}
        origin = {"reason": row.reason, "margin": row.margin, "shared_steps": row.shared_steps, "path": row.path,
                  "rejected_path": row.rejected_path}  # fmt: skip
    else:
        spoken = {"prompt": prompt, "completion": reply} if layout == APART else {"messages": [*prompt, *reply]}
        origin = {"path": row.path}
    return {
        "id": row.id, **spoken, "kind": row.kind, **origin, "question": question.id, "answer": question.answer,
        "image_sha256": question.image, "source": question.source, "family": question.family, "level": question.level,
    }  # fmt: skip


def flatten_message(message: dict) -> dict:
    """Return a message whose content is its text alone."""
    text = "".join(part["text"] for part in message["content"] if part["type"] == "text")
    return {"role": message["role"], "content": text}


# -- folders -----------------------------------------------------------------------------------------------------------


def export_set(
    store: Store,
    run: str,
    name: str,
    layout_of_folder: str,
    folder: Path,
    *,
    layout: str = APART,
    progress: Callable[[int], object] = lambda rows: None,
) -> dict:
    """Write "reason", "summary" or the "pairs" of a run to a folder and return its manifest.

    `run` has curated, or paired the paths of a round of DPO. `layout_of_folder` is one of `FORMATS`. The folder is
    complete or not there at all. `progress` is told of rows as they are written; formats that hold their pictures
    take a while after the last. Raises `UserError` where the folder holds something already, there is nothing to
    write, or a picture is gone.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: give a folder that is new or empty")
    rows = list(training_rows(store, run, name))
    if not rows:
        raise UserError(f"{name} of run {run} has no rows: look at what `insightv curate` left out and excluded")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            made = Path(beside) / "made"
            made.mkdir()
            WRITERS[layout_of_folder](rows, store.image_file, made, name, layout, progress)
            manifest = write_manifest(store, run, name, layout_of_folder, layout, rows, made)
            if folder.exists():
                folder.rmdir()
            made.chmod(0o755)
            made.replace(folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({first_line(error)}): make room or give another folder"
        ) from error
    return manifest


def read_picture(image_file: Callable[[str], Path], image: str) -> bytes:
    """Return the file of a stored picture; `UserError` where it is gone or changed."""
    file = image_file(image)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"the picture {file} cannot be read ({first_line(error)}): restore it, or leave its rows out with "
            "`insightv curate --exclude`"
        ) from error
    if hashlib.sha256(content).hexdigest() != image:
        raise UserError(
            f"the picture {file} was changed since it was imported: restore it, or leave its rows out with "
            "`insightv curate --exclude`"
        )
    return content


def embed(
    rows: list[TrainingRow], image_file: Callable[[str], Path], layout: str, cache: Path, progress: Callable
) -> "Dataset":
    """Return the rows as a dataset that holds its pictures, written to `cache` as it is made."""
    from datasets import Dataset

    def generate() -> Iterator[dict]:
        for row in rows:
            image = row.question.image
            pictures = [{"bytes": read_picture(image_file, image), "path": f"{image}.png"}]
            yield write_columns(row, layout) | {"images": pictures}
            progress(1)

    features = describe_columns(rows[0].rejected is not None, layout)
    ids = identify([row.id for row in rows], layout)
    with quiet_datasets():
        try:
            return Dataset.from_generator(generate, features=features, cache_dir=str(cache), fingerprint=ids)
        except Exception as error:
            if isinstance(error.__cause__, UserError):  # datasets wraps what goes wrong while it reads
                raise error.__cause__ from None
            raise


def write_trl(
    rows: list[TrainingRow], image_file: Callable, folder: Path, name: str, layout: str, progress: Callable
) -> None:
    """Write what `datasets.load_from_disk` reads."""
    cache = folder.parent / "cache"
    with quiet_datasets():
        embed(rows, image_file, layout, cache, progress).save_to_disk(folder / ROWS[TRL])
    shutil.rmtree(cache)


def write_parquet(
    rows: list[TrainingRow], image_file: Callable, folder: Path, name: str, layout: str, progress: Callable
) -> None:
    """Write what `datasets.load_dataset` reads, from this folder or from a hub."""
    cache, file = folder.parent / "cache", folder / ROWS[PARQUET]
    file.parent.mkdir()
    with quiet_datasets():
        embed(rows, image_file, layout, cache, progress).to_parquet(file)
    shutil.rmtree(cache)


def write_jsonl(
    rows: list[TrainingRow], image_file: Callable, folder: Path, name: str, layout: str, progress: Callable
) -> None:
    """Write one JSON object a row, beside a folder of pictures."""
    with (folder / ROWS[JSONL]).open("w", encoding="utf-8") as file:
        for row in rows:
            columns = write_columns(row, layout) | {"images": [copy_picture(row, image_file, folder)]}
            file.write(json.dumps(columns, ensure_ascii=False) + "\n")
            progress(1)


def write_llama_factory(
    rows: list[TrainingRow], image_file: Callable, folder: Path, name: str, layout: str, progress: Callable
) -> None:
    """Write LLaMA-Factory's sharegpt layout with its dataset_info.json: the folder is a `dataset_dir`."""
    written = []
    for row in rows:
        columns = write_columns(row)
        system, *turns = columns["prompt"]
        if any(IMAGE_MARK in turn["content"] for turn in [system, *turns, *spoken_by(columns)]):
            raise UserError(
                f"row {row.id} says {IMAGE_MARK}, which LLaMA-Factory would take for a second picture: leave it out "
                "or choose another format"
            )
        turns = [dict(turn) for turn in turns]
        turns[0]["content"] = IMAGE_MARK + turns[0]["content"]
        said = [rename_message(turn) for turn in turns]
        spoken: dict = {"conversations": said}
        if row.rejected is None:
            said.append(rename_message(columns["completion"][0]))
        else:
            spoken |= {side: rename_message(columns[side][0]) for side in SIDES}
        pictures = [copy_picture(row, image_file, folder)]
        written.append({"id": row.id, **spoken, "system": system["content"], "images": pictures})
        progress(1)
    (folder / ROWS[LLAMA_FACTORY]).write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")
    columns = {"messages": "conversations", "system": "system", "images": "images"}
    preferences = rows[0].rejected is not None
    described = {"file_name": ROWS[LLAMA_FACTORY], "formatting": "sharegpt", "ranking": preferences,
                 "columns": columns | ({side: side for side in SIDES} if preferences else {})}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({f"insightv_{name}": described}, indent=2))


def spoken_by(columns: dict) -> list[dict]:
    """Return the replies of a row."""
    return [message for side in ("completion", *SIDES) for message in columns.get(side, [])]


def rename_message(message: dict) -> dict:
    """Return a message with sharegpt's names."""
    return {"from": SENDERS[message["role"]], "value": message["content"]}


def copy_picture(row: TrainingRow, image_file: Callable[[str], Path], folder: Path) -> str:
    """Copy the picture of a row into the folder once, and return its place there."""
    place = f"images/{row.question.image}.png"
    if not (folder / place).exists():
        (folder / "images").mkdir(exist_ok=True)
        (folder / place).write_bytes(read_picture(image_file, row.question.image))
    return place


WRITERS = {TRL: write_trl, LLAMA_FACTORY: write_llama_factory, JSONL: write_jsonl, PARQUET: write_parquet}


# -- and back ----------------------------------------------------------------------------------------------------------


def read_export(folder: Path, cache: Path | None = None) -> "Dataset":
    """Return an exported folder as the dataset that `to_dataset` makes, whatever its format.

    LLaMA-Factory's layout holds no more than id, picture and text, so it comes back with these columns.
    """
    from datasets import Dataset, load_from_disk

    manifest = json.loads((folder / MANIFEST).read_text())
    features = describe_columns(manifest["set"] == "pairs", manifest["layout"])
    made, file = manifest["format"], folder / ROWS[manifest["format"]]
    with quiet_datasets():
        if made == TRL:
            return load_from_disk(file)
        if made == PARQUET:
            return Dataset.from_parquet(str(file), cache_dir=str(cache) if cache else None)
    if made == JSONL:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    else:
        rows = [read_sharegpt(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    rows = [row | {"images": [str(folder / place) for place in row["images"]]} for row in rows]
    features = type(features)({name: column for name, column in features.items() if name in rows[0]})
    return Dataset.from_list([{name: row[name] for name in features} for row in rows], features=features)


def read_sharegpt(row: dict) -> dict:
    """Return a row of LLaMA-Factory's layout with our columns."""
    roles = {sender: role for role, sender in SENDERS.items()}

    def rename(message: dict) -> dict:
        return {"role": roles[message["from"]], "content": message["value"].removeprefix(IMAGE_MARK)}

    turns = [{"role": "system", "content": row["system"]}, *map(rename, row["conversations"])]
    if "chosen" in row:
        spoken = {"prompt": turns} | {side: [rename(row[side])] for side in SIDES}
    else:
        spoken = {"prompt": turns[:-1], "completion": turns[-1:]}
    return {"id": row["id"], "images": row["images"], **spoken}


# -- what goes with them -----------------------------------------------------------------------------------------------


def write_manifest(
    store: Store, run: str, name: str, form: str, layout: str, rows: list[TrainingRow], folder: Path
) -> dict:
    """Write the dataset card and the manifest: where the rows come from, what was left out, and hashes of it all."""
    counts, noted, curating = count_rows(store, run)[name], load_manifest(store, run), store.run(run)
    manifest = {
        "set": name, "format": form, "layout": layout, "rows": len(rows), "kinds": counts["rows"],
        "excluded": counts["excluded"], "left_out": noted["left_out"][name], "funnel": noted["funnel"],
        "run": run, "stage": curating.stage, "settings": curating.settings,
        "prompt_version": curating.prompt_version, "code_version": curating.code_version,
        "made_by": list_makers(store, curating.settings["inputs"]),
        "rows_sha256": hash_rows(rows),
    }  # fmt: skip
    (folder / "README.md").write_text(write_card(manifest), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {str(path.relative_to(folder)): hash_file(path) for path in files}
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2), encoding="utf-8")
    return manifest


def list_makers(store: Store, inputs: dict) -> list[dict]:
    """Return the runs that made and assessed the paths, with the models that they used."""
    found = []
    for run, paths in {**inputs["paths"], **inputs["assessments"]}.items():
        made = store.run(run)
        model = {"model": made.model.name, "fingerprint": made.model.fingerprint} if made.model else {"model": None}
        found.append({"run": run, "stage": made.stage, "paths": paths, **model, "settings": made.settings})
    return found


def hash_rows(rows: Iterable[TrainingRow]) -> str:
    """Return a sha256 over all that the rows say, the same for every format."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(write_columns(row), sort_keys=True, ensure_ascii=False).encode("utf-8", "replace"))
    return digest.hexdigest()


def hash_file(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


TITLES = {
    "reason": "a reasoning agent", "summary": "a summary agent", "pairs": "preference training of a reasoning agent",
}  # fmt: skip
LEARNED = {
    "reason": "Each row asks for the reasoning process of a question about a picture; the reply is the best path that "
    "was found, one JSON object a line.",
    "summary": "Each row shows a reasoning process, or none where its kind is plain; the reply says whether it is "
    "sound or flawed, and gives the true answer either way.",
    "pairs": "Each row asks for the reasoning process of a question about a picture, with a better and a worse reply.",
}
OF_ROUND = "Both were sampled for a round of DPO from the agent as that round found it: what is worse is its own."
LOADING = {
    TRL: 'from datasets import load_from_disk\n\nrows = load_from_disk("data")  # give it to SFTTrainer or DPOTrainer',
    PARQUET: 'from datasets import load_dataset\n\nrows = load_dataset(".", split="train")',
    JSONL: 'import json\n\nrows = [json.loads(line) for line in open("rows.jsonl", encoding="utf-8")]',
    LLAMA_FACTORY: "# llamafactory-cli train with\ndataset_dir: .\ndataset: insightv_{name}",
}
CONFIGS = {
    PARQUET: "configs:\n- config_name: default\n  data_files: data/*.parquet\n",
    JSONL: "configs:\n- config_name: default\n  data_files: rows.jsonl\n",
}


def write_card(manifest: dict) -> str:
    """Return the dataset card."""
    name, form, made_by = manifest["set"], manifest["format"], manifest["made_by"]
    settings = {key: value for key, value in manifest["settings"].items() if key != "inputs"}
    makers = [
        f"| {maker['stage']} | {maker['model'] or 'rules'} | `{maker['run']}` | {maker['paths']} |" for maker in made_by
    ]
    learned = f"{LEARNED[name]} {OF_ROUND}" if manifest["stage"] == ROUND_PAIRS else LEARNED[name]
    inside = "yaml" if form == LLAMA_FACTORY else "python"
    length = "`max_length=None`, or picture tokens are cut" if form != LLAMA_FACTORY else "a `cutoff_len` that fits"
    return "\n".join([
        "---", "task_categories:\n- visual-question-answering", "tags:\n- insight-v\n- chain-of-thought",
        f"{CONFIGS.get(form, '')}---", "", f"# {manifest['rows']} rows for {TITLES[name]}", "",
        f"{learned} Curated from generated and assessed paths in the manner of Insight-V (arXiv 2411.14432).", "",
        f"```{inside}\n{LOADING[form].format(name=name)}\n```", "", f"Train with {length}.", "",
        *write_table("Rows", manifest["kinds"]), *write_table("Excluded", manifest["excluded"]),
        *write_table("Questions or paths without a row", manifest["left_out"]),
        "## Made by", "", "| stage | model | run | paths |", "|---|---|---|---|", *makers, "",
        *write_table("Settings", settings),
        "## Limits", "",
        "Chains and scores were written by models, and nobody has read most of them. Questions and pictures keep the "
        "licences of their sources. `manifest.json` has the settings of every run and a hash of every file.", "",
    ])  # fmt: skip


def write_table(title: str, values: dict) -> list[str]:
    """Return a heading and a table of values by name, nothing where there are none."""
    lines = [f"| {name} | {value} |" for name, value in values.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *lines, ""] if lines else []


@contextlib.contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keep datasets from drawing a bar for each file that it writes."""
    from datasets.utils import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
