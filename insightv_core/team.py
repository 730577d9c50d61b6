"""Who plays the two agents: those that a project trained, else those that come with the workbench."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.agents import Agent
from insightv_core.errors import UserError
from insightv_core.generate import CHAIN, PROGRESSIVE
from insightv_core.nano.model import MODELS_FOLDER
from insightv_core.store import Store
from insightv_core.store.training import list_adapters
from insightv_core.train.adapters import BASE_FILE, locate, read_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from insightv_core.vlm import VLM

ROLES = REASON, SUMMARY = "reason", "summary"
STRONG = "nano-teacher"  # writes chains as it is, and so can stand in where nobody was trained


@dataclass(frozen=True)
class Team:
    """The models of both agents, by name, folder or address, and their LoRA adapters' folders; `origin` in words."""

    model: str
    adapter: str | None
    summary_model: str
    summary_adapter: str | None
    origin: str

    @property
    def style(self) -> str:
        """How the reasoning agent writes: trained ones the whole chain in one reply, others one step a turn."""
        return CHAIN if self.adapter else PROGRESSIVE

    def names(self) -> tuple[str, str]:
        """Return how to call both agents: their model, and their adapter where they have one."""
        played = ((self.model, self.adapter), (self.summary_model, self.summary_adapter))
        reasoning, summary = (f"{Path(adapter).name} on {model}" if adapter else model for model, adapter in played)
        return reasoning, summary

    def load(self, load: "Callable[[str], VLM]") -> tuple[Agent, Agent]:
        """Load both agents, a model that they share only once."""
        model = load(self.model)
        other = model if self.summary_model == self.model else load(self.summary_model)
        return Agent(model, self.adapter), Agent(other, self.summary_adapter)


def find_team(store: Store | None) -> Team:
    """Return the newest trained agents of a project that share a base, else the trained ones of nano, else its teacher.

    Adapters whose folders are gone, or whose base is gone or has other weights by now, are passed over.
    """
    if store is not None:
        newest = [[(row["base"], locate(store, row)) for row in list_adapters(store, role)] for role in ROLES]
        for base, reason in newest[0]:
            summary = next((folder for other, folder in newest[1] if folder and other == base), None)
            if reason and summary and fits(reason, base):
                return team_of(reason, summary, f"trained in {store.file.name}")
    reason, summary = (MODELS_FOLDER / f"nano-{role}" for role in ROLES)
    if reason.is_dir() and summary.is_dir():
        return team_of(reason, summary, "nano's own agents")
    return Team(STRONG, None, STRONG, None, f"{STRONG} in both roles")


def team_of(reason: Path, summary: Path, origin: str) -> Team:
    """Return the team of two adapters of one base."""
    base = read_base(reason)
    return Team(base, str(reason), base, str(summary), origin)


def fits(adapter: Path, fingerprint: str) -> bool:
    """Tell whether the base that an adapter names has the weights that it was trained on."""
    try:
        return read_version(read_base(adapter)).fingerprint == fingerprint
    except UserError:
        return False


def read_base(adapter: Path) -> str:
    """Return the name of the model that an adapter was trained on; raise `UserError` where its folder does not say."""
    try:
        return str(json.loads((adapter / BASE_FILE).read_text())["name"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{adapter} does not say which model it was trained on ({type(error).__name__}): name it with --model"
        ) from error
