"""How large a study is: plain data that loads no library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StudySettings:
    """Sizes of a study; together with the model and the curated sets they name its run.

    `questions` are held-out scenes of the reasoning families, `perception` those of the perception families, drawn by
    `scene_seed`. Every agent is trained for `epochs` at `learning_rate`, each of `rounds` of DPO for one epoch at
    `dpo_learning_rate` on `round_paths` paths of each of `round_questions`. `samples` are the chains a question of
    majority and best-of-N. `judge` scores paths without knowing the correct answer, for one round of DPO on its word
    alone; None leaves that out. `shares` of the reasoning set are what data scaling trains on beside the whole set (the
    paper's Figure 4 goes from a quarter to the whole).
    """

    questions: int = 1000
    perception: int = 250
    scene_seed: int = 1
    epochs: float = 6.0
    learning_rate: float = 1e-3
    batch_size: int = 8
    rounds: int = 3
    round_questions: int = 200
    round_paths: int = 6
    dpo_learning_rate: float = 2e-4
    samples: int = 4
    judge: str | None = "nano-teacher"
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)


QUICK = StudySettings(
    questions=60, perception=20, epochs=2.0, rounds=1, round_questions=20, round_paths=4, samples=2, shares=(0.25,)
)
