"""What the notebooks need beside the stages: a shared project, records as they look in a cell, and exercises."""

from insightv_core.teaching.classroom import (
    Classroom,
    Sizes,
    assess_paths,
    assessments_by_path,
    make_paths,
    make_sets,
    open_classroom,
    play_rounds,
)
from insightv_core.teaching.display import (
    app_link,
    show_flaws,
    show_judged,
    show_path,
    show_question,
    show_solution,
    show_table,
)

__all__ = [
    "Classroom", "Sizes", "app_link", "assess_paths", "assessments_by_path", "make_paths", "make_sets",
    "open_classroom", "play_rounds", "show_flaws", "show_judged", "show_path", "show_question", "show_solution",
    "show_table",
]  # fmt: skip
