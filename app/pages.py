"""What pages share: addresses, opening the project for one call, and saying what went wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from insightv_core.store import Store, open_store
from insightv_core.store.browse import PathFilter, facet_counts, filter_to_query
from insightv_core.team import Team, find_team
from insightv_core.vlm import VLM
from insightv_core.vlm.loading import load_vlm


@dataclass(frozen=True)
class Project:
    """What pages need to know: the project file, which models the chat uses, and how one is loaded.

    Without a `model`, the chat takes the agents that the project trained, else nano's own.
    """

    file: Path
    model: str | None = None
    base_model: str = "nano-base"
    load: Callable[[str], VLM] = load_vlm

    def open(self) -> Store:
        """Open the store; each call in a thread of its own needs one."""
        return open_store(self.file)

    def team(self) -> Team:
        """Return who plays the two agents now: training may have made new ones since."""
        if self.model:
            return Team(self.model, None, self.model, None, "as named")
        with self.open() as store:
            return find_team(store)


def address(filter: PathFilter, **more: str) -> str:
    """Return the address of a filtered view, or of an opened question where the filter names one."""
    # Not "page", which Gradio takes for one of its own.
    return "?" + "&".join(part for part in ("tab=browse", filter_to_query(filter), urlencode(more)) if part)


def read_query(query: str) -> dict[str, str]:
    """Return the values of an address by name; of several with one name the last."""
    return {name: values[-1] for name, values in parse_qs(query.removeprefix("?")).items()}


def link(tab: str, **values: object) -> str:
    """Return the address of a page as an attribute's text; values that are None are left out."""
    return escape("?" + urlencode({"tab": tab} | {name: value for name, value in values.items() if value is not None}))


def model_names(store: Store) -> dict[str, str]:
    """Return the names of the models that made paths, by fingerprint."""
    runs = [store.run(str(run)) for run, _ in facet_counts(store, PathFilter())["run"]]
    return {run.model.fingerprint: run.model.name for run in runs if run.model is not None}


def section(name: str, handlers: list[Callable]) -> None:
    """Lay out a page whose HTML comes from its handler `show`; the script fills it when it is visited."""
    import gradio as gr

    with gr.Column(elem_id=f"page-{name}", elem_classes="page"):
        gr.HTML(
            html_template="",
            js_on_load=f"insightv.add('{name}', server, trigger, {needs(handlers)})",
            server_functions=handlers,
            apply_default_css=False,
        )


def needs(handlers: list[Callable], **more: str) -> str:
    """Return which role each handler of a page needs, and what else the script is told of by name, as JSON."""
    return json.dumps({each.__name__: each.role for each in handlers} | more)  # type: ignore[attr-defined]
