"""Hugging Face datasets, saved on disk or of a hub, as tables of rows whose pictures are not decoded yet."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.images import first_line
from insightv_core.importing.tables import ROWS_AT_ONCE, Table, number_rows

if TYPE_CHECKING:
    from datasets import Dataset

NAME = re.compile(r"([\w.-]+/)?[\w.-]+")


def open_saved_dataset(folder: Path) -> Table:
    """Open what `Dataset.save_to_disk` wrote."""
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(folder)
    except Exception as error:  # datasets, pyarrow and json each fail in their own way
        raise UserError(
            f"the dataset in {folder} cannot be loaded ({first_line(error)}): save it again with save_to_disk"
        ) from error
    name = folder.resolve().name
    if isinstance(found, DatasetDict):
        split = only_split(list(found), f"the dataset in {folder}", f"{folder}/{{}}")
        found, name = found[split], split
    return read_dataset(found, name, (folder,))


def open_hub_dataset(name: str) -> Table:
    """Download a dataset by `org/name[:config][:split]`, or take it from the cache, and open it.

    Of two parts the second is the config where the dataset has one of that name, else the split.
    """
    repository, *parts = name.split(":")
    if not NAME.fullmatch(repository) or len(parts) > 2:
        raise UserError(f"hf:{name} names no dataset: write hf:ORGANISATION/NAME[:CONFIG][:SPLIT]")
    import datasets

    try:
        config, split = (*parts, "", "")[:2] if len(parts) != 1 else tell_config(repository, parts[0])
        if not split:
            names = datasets.get_dataset_split_names(repository, config or None)
            split = only_split(names, f"hf:{repository}", f"hf:{repository}:{config}:{{}}")
        found = datasets.load_dataset(repository, config or None, split=split)
    except UserError:
        raise
    except Exception as error:  # whatever the hub, the network or a builder say
        offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "on", "yes", "true")
        advice = " Downloads are switched off; HF_HUB_OFFLINE=0 before the command allows them." if offline else ""
        raise UserError(
            f"the dataset hf:{name} cannot be loaded ({first_line(error)}): check its name, config and split.{advice}"
        ) from error
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    return read_dataset(found, split, tuple(map(Path, caches)))


def tell_config(repository: str, part: str) -> tuple[str, str]:
    """Return config and split, one of them empty, for a name that may be either."""
    from datasets import get_dataset_config_names

    return (part, "") if part in get_dataset_config_names(repository) else ("", part)


def only_split(splits: list[str], what: str, template: str) -> str:
    """Return the split where there is one; `UserError` that names them where there are several."""
    if len(splits) != 1:
        raise UserError(
            f"{what} has the splits {', '.join(map(str, splits)) or '(none)'}: "
            f"give one of them, such as {template.format(splits[0] if splits else 'SPLIT')}"
        )
    return str(splits[0])


def read_dataset(dataset: "Dataset", name: str, folders: tuple[Path, ...]) -> Table:
    """Return a dataset as a table; class labels become their names."""
    labels = {
        column: feature.names for column, feature in dataset.features.items() if type(feature).__name__ == "ClassLabel"
    }

    def batches() -> Iterator[list[dict]]:
        # The arrow format hands pictures over as bytes or paths; any other would decode them, unchecked.
        for batch in dataset.with_format("arrow").iter(ROWS_AT_ONCE):
            yield [name_labels(values, labels) for values in batch.to_pylist()]

    columns = tuple(dataset.column_names)
    return Table(lambda: number_rows(name, batches()), folders, columns, dataset.num_rows, absolute=True)


def name_labels(values: dict, labels: dict[str, list[str]]) -> dict:
    """Return a row with the numbers of classes replaced by their names; -1 stands for none."""
    named = {
        column: names[values[column]] if values[column] is not None and values[column] >= 0 else None
        for column, names in labels.items()
    }
    return values | named
