"""Adapters of a project: found by folder or hash, and used on no other base than the one they were trained on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.nano.model import MODEL_NAMES, find_model
from insightv_core.records import ModelVersion
from insightv_core.store import Store
from insightv_core.store.training import ADAPTER, WHOLE, add_model, known_model, list_models

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

BASE_FILE = "base.json"  # beside the weights: a folder may come without its project
SHORTEST_HASH = 4


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: its folder, and its name and the hash of its content."""

    folder: Path
    version: ModelVersion


def open_adapter(store: Store, wanted: str, base: ModelVersion | None) -> Adapter:
    """Return the adapter in a folder, or the one of the project with that name or beginning of a hash.

    `base` is what it is to be used on, None for a server, which knows its own. Raises `UserError` where there is no
    such adapter, several are meant, or it was trained on another base.
    """
    from insightv_core.vlm.local import hash_files

    folder = Path(wanted) if Path(wanted).is_dir() else _look_up(store, wanted)
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"{folder} holds no LoRA adapter: give a folder with an adapter_config.json")
    fingerprint = hash_files(folder)
    if base is not None:
        _check_base(store, folder, fingerprint, base)
    known = known_model(store, fingerprint)
    return Adapter(folder, ModelVersion(known["name"] if known else folder.resolve().name, fingerprint))


def _look_up(store: Store, wanted: str) -> Path:
    found = [
        row for row in list_models(store, ADAPTER)
        if row["name"] == wanted or (len(wanted) >= SHORTEST_HASH and row["fingerprint"].startswith(wanted))
    ]  # fmt: skip
    if len(found) > 1:
        raise UserError(f"{len(found)} adapters begin with {wanted}: give more of the hash")
    if not found:
        raise UserError(
            f"no adapter at {wanted}, and none of that name or hash in {store.file}: train one with "
            "`insightv sft reason`"
        )
    folder = locate(store, found[0])
    if folder is None:
        raise UserError(f"the weights of {found[0]['name']} are no longer in {found[0]['folder']}: train it again")
    return folder


def locate(store: Store, row: dict) -> Path | None:
    """Return the folder of a model of the project, also where the project was moved; None where it is gone."""
    beside = store.folder / ("models" if row["kind"] == WHOLE else "adapters") / row["name"]
    return next((folder for folder in (Path(row["folder"]), beside) if folder.is_dir()), None)


def _check_base(store: Store, folder: Path, fingerprint: str, base: ModelVersion) -> None:
    file, name, known = folder / BASE_FILE, "", known_model(store, fingerprint)
    trained_on = known["base"] if known and known["kind"] == ADAPTER else None
    if file.is_file():
        noted = json.loads(file.read_text())
        name, trained_on = noted["name"], noted["fingerprint"]
    if trained_on not in (None, base.fingerprint):
        wrong = f"{name} {trained_on[:8]}".strip()
        raise UserError(
            f"the adapter {folder} was trained on {wrong}, and {base.name} is {base.fingerprint[:8]}: give its own "
            f"base with --model, or train an adapter on this one with `insightv sft reason --model {base.name}`"
        )


def note_base(folder: Path, base: ModelVersion) -> None:
    """Write into an adapter's folder what it was trained on."""
    (folder / BASE_FILE).write_text(json.dumps({"name": base.name, "fingerprint": base.fingerprint}) + "\n")


def register(store: Store, adapter: Adapter, base: ModelVersion) -> None:
    """Enter an adapter into the project, unless it is there."""
    add_model(
        store, adapter.version, kind=ADAPTER, base=base.fingerprint, folder=str(adapter.folder), run=None, known=True
    )


def attach(model: "PreTrainedModel", adapter: Adapter) -> "PeftModel":
    """Return a base model with an adapter that can be trained; raise `UserError` where they do not fit."""
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(model, str(adapter.folder), is_trainable=True)
    except (RuntimeError, ValueError, KeyError) as error:
        said = str(error).strip().splitlines()[:2][-1].strip()  # torch says what it is about on the second line
        raise UserError(
            f"the adapter {adapter.folder} does not fit {type(model).__name__} ({said[:160]}): "
            "give the base that it was trained on with --model"
        ) from error
    # The folder may name the base as a user does; PEFT looks there for a file whenever it saves a checkpoint.
    adapted.peft_config["default"].base_model_name_or_path = model.config._name_or_path
    return adapted


def read_version(name: str) -> ModelVersion:
    """Return the version of a model without loading it, as `load_vlm` gives it; servers are asked."""
    from insightv_core.vlm.local import hash_files

    if name.startswith(("http://", "https://")):
        from insightv_core.vlm.loading import load_vlm

        return load_vlm(name).version
    folder = find_model(name) if name in MODEL_NAMES else Path(name)
    if folder.is_dir():
        return ModelVersion(name, hash_files(folder))
    from transformers import AutoConfig

    try:
        return ModelVersion(name, str(getattr(AutoConfig.from_pretrained(name), "_commit_hash", None)))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the model {name} cannot be read ({str(error).splitlines()[0][:160]}): give {' or '.join(MODEL_NAMES)}, "
            "a folder, a hub id such as Qwen/Qwen2.5-VL-7B-Instruct, or the address of a server"
        ) from error
