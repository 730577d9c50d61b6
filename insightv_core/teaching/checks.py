"""Checks of the notebooks' exercises: each returns a sentence that begins with RIGHT, or says what is wrong.

An answer that is still the dots of the exercise is asked for; a function of the reader's that fails is told about.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from insightv_core.curate.sets import judge_soundness
from insightv_core.curate.settings import CurateSettings
from insightv_core.nano.world import Example
from insightv_core.parse import FLAWED, SOUND
from insightv_core.prompts import CONTINUE, FINAL
from insightv_core.records import COMPLETE, Candidate, Step
from insightv_core.teaching.truth import find_false, verify_chain

RIGHT = "Right."
EMPTY = "Not answered yet: put your answer in place of the dots and run the cell again."


def check_number(answer: object, truth: float, hint: str, tolerance: float = 1e-9) -> str:
    """Check a number; `hint` says how to get there."""
    if answer is ...:
        return EMPTY
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return f"{answer!r} is not a number. {hint}"
    if not math.isclose(answer, truth, rel_tol=tolerance, abs_tol=tolerance):
        return f"{answer:g} is too {'small' if answer < truth else 'large'}. {hint}"
    return f"{RIGHT} It is {truth:g}."


def check_function(answer: object, truth: Callable, cases: Sequence[tuple], hint: str, tolerance: float = 1e-6) -> str:
    """Check a function on cases, each a tuple of arguments, against one that is right."""
    if answer is ...:
        return EMPTY
    if not callable(answer):
        return f"{answer!r} is not a function: write def or lambda. {hint}"
    for case in cases:
        said, wanted = call(answer, case), truth(*case)
        shown = ", ".join(map(repr, case))
        if isinstance(said, Failure):
            return f"For ({shown}) your function fails: {said.words}. {hint}"
        if said is ...:
            return EMPTY
        if said is None and wanted is not None:
            return f"For ({shown}) your function returns nothing. {hint}"
        if not same(said, wanted, tolerance):
            return f"For ({shown}) your function returns {said!r}, and {wanted!r} is right. {hint}"
    return f"{RIGHT} It agrees in all {len(cases)} cases."


class Failure:
    """What a reader's function raised, in words."""

    def __init__(self, error: Exception):
        self.words = f"{type(error).__name__}: {error}"


def call(function: Callable, arguments: tuple) -> Any:
    """Return what a reader's function returns, or its failure."""
    try:
        return function(*arguments)
    except Exception as error:  # whatever a reader writes
        return Failure(error)


def same(said: object, wanted: object, tolerance: float) -> bool:
    """Tell whether two values are the same, numbers up to a tolerance; True is no 1."""
    if isinstance(said, bool) or isinstance(wanted, bool):
        return said is wanted
    try:
        return math.isclose(said, wanted, rel_tol=tolerance, abs_tol=tolerance)  # type: ignore[arg-type]
    except TypeError:
        return said == wanted


# -- 00 tour -----------------------------------------------------------------------------------------------------------


def check_flawed_steps(answer: object, example: Example, steps: Sequence[Step]) -> str:
    """Check which steps of a chain say something false about a scene, as numbers from 1."""
    if answer is ...:
        return EMPTY
    truth = {n for n, verdict in enumerate(verify_chain(example, steps), 1) if verdict == FLAWED}
    if not isinstance(answer, set | list | tuple):
        return f"Give the numbers of the flawed steps in braces, such as {{1, 3}}, not {answer!r}."
    said = set(answer)
    unknown = said - set(range(1, len(steps) + 1))
    if unknown:
        return f"There is no step {min(unknown, key=str)}: the steps are numbered from 1 to {len(steps)}."
    if said - truth:
        number = min(said - truth)
        return f"Step {number} holds: every claim in it agrees with the picture. Hold each number against a bar."
    if truth - said:
        number = min(truth - said)
        claim = find_false(example, steps[number - 1])[0]
        return f"You missed step {number}, which says something false: “{claim.text}”."
    return f"{RIGHT} Flawed: {', '.join(map(str, sorted(truth))) or 'none'}."


# -- 01 generate -------------------------------------------------------------------------------------------------------


def check_next_turn(answer: object) -> str:
    """Check a function from a step to the prompt of the next turn."""
    cases = [(Step("Read", "red is 3"),), (Step("Subtract", "5 - 3 = 2", "summary"),)]
    return check_function(
        answer, lambda step: FINAL if step.action == "summary" else CONTINUE, cases,
        "After the action “summary” the answer is asked for, before that another step.",
    )  # fmt: skip


def check_prompt_tokens(answer: object) -> str:
    """Check a function (prompt, step, steps) that counts the prompt tokens of a path written without a cache."""
    return check_function(
        answer, lambda prompt, step, steps: sum(prompt + t * step for t in range(steps)),
        [(100, 20, 1), (100, 20, 2), (280, 35, 5)],
        "Turn t, counted from 0, sends the prompt and the t steps that are there already; add up over the turns.",
    )  # fmt: skip


# -- 02 assess ---------------------------------------------------------------------------------------------------------


def check_auc(answer: object) -> str:
    """Check a function (scores of sound paths, scores of flawed paths) that returns the area under the curve."""
    return check_function(
        answer,
        lambda ups, downs: sum((u > d) + 0.5 * (u == d) for u in ups for d in downs) / (len(ups) * len(downs)),
        [([90, 80], [10, 20]), ([50], [50]), ([90, 30, 60], [40, 60])],
        "Take every pair of a sound and a flawed path: 1 where the sound one scores higher, 1/2 for a tie, else 0; "
        "then the mean.",
    )


def check_lucky(answer: object, lucky: Sequence[str]) -> str:
    """Check the id of a path with a right answer and a false step, None where there is none."""
    if answer is ...:
        return EMPTY
    if not lucky:
        return f"{RIGHT} There is none." if answer is None else "No path here is both right and flawed: answer None."
    if answer is None:
        return f"There is such a path: {len(lucky)} of them have a right answer and a step that is false."
    if answer not in lucky:
        return f"{answer!r} is not the id of a path with a right answer and a flawed step: look at both columns."
    return f"{RIGHT} One of {len(lucky)}."


# -- 03 agents ---------------------------------------------------------------------------------------------------------


def check_soundness(answer: object) -> str:
    """Check a function (outcome, score, verdicts) that labels a chain for the summary agent."""

    def truth(outcome: str, score: int, verdicts: tuple[str, ...]) -> str | None:
        return judge_soundness(Candidate("", "", "", COMPLETE, (), outcome, score, verdicts), CurateSettings())

    cases = [("wrong", 95, (SOUND, SOUND)), ("correct", 90, (SOUND, SOUND)), ("correct", 20, (SOUND, FLAWED)),
             ("correct", 90, (SOUND, FLAWED)), ("correct", 20, (SOUND, SOUND))]  # fmt: skip
    return check_function(
        answer, truth, cases,
        "A wrong answer makes it “flawed”; else score (from 70) and verdicts must say the same, or it is None.",
    )  # fmt: skip


def check_broken_chain(answer: object, example: Example, before: Sequence[Step]) -> str:
    """Check a chain that was made false: the same number of steps, and the verifier finds a flaw."""
    if answer is ...:
        return EMPTY
    if not isinstance(answer, list | tuple) or not all(isinstance(step, Step) for step in answer):
        return "Give the whole chain as a list of steps, with dataclasses.replace for the one that you change."
    if len(answer) != len(before):
        return f"The chain has {len(answer)} steps and had {len(before)}: change a step, do not add or drop one."
    if tuple(answer) == tuple(before):
        return "The chain is as it was: change a number in one of its steps."
    verdicts = verify_chain(example, answer)
    if FLAWED not in verdicts:
        return f"The verifier finds nothing false (it says {', '.join(verdicts)}): claim a value that no bar has."
    return f"{RIGHT} Step {verdicts.index(FLAWED) + 1} is now false."


# -- 04 iterative DPO --------------------------------------------------------------------------------------------------


def check_pair_loss(answer: object) -> str:
    """Check a function (chosen, rejected, ref_chosen, ref_rejected, beta) that returns the loss of a pair."""

    def truth(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, beta: float) -> float:
        return math.log1p(math.exp(-beta * ((chosen - ref_chosen) - (rejected - ref_rejected))))

    return check_function(
        answer, truth,
        [(-10.0, -12.0, -10.0, -12.0, 0.1), (-8.0, -15.0, -10.0, -12.0, 0.1), (-8.0, -15.0, -10.0, -12.0, 1.0)],
        "It is -log sigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected))).",
    )  # fmt: skip


def check_longer(answer: object, pairs: Sequence[tuple[str, str]]) -> str:
    """Check the share of (chosen, rejected) texts of which the chosen one is the longer."""
    truth = sum(len(chosen) > len(rejected) for chosen, rejected in pairs) / max(1, len(pairs))
    return check_number(answer, truth, "Count the pairs with len(chosen) > len(rejected), over all pairs.", 1e-3)


# -- 05 evaluate -------------------------------------------------------------------------------------------------------


def check_interval(answer: object) -> str:
    """Check a function (hits) that returns (low, high), a 95% bootstrap interval of the mean."""
    if answer is ...:
        return EMPTY
    if not callable(answer):
        return f"{answer!r} is not a function: write def or lambda."
    from insightv_core.evaluate import estimate

    for hits in ([1.0] * 30 + [0.0] * 70, [1.0] * 9 + [0.0]):
        said, wanted = call(answer, (hits,)), estimate(hits)
        if said is ...:
            return EMPTY
        if isinstance(said, Failure):
            return f"Your function fails: {said.words}."
        if not isinstance(said, tuple | list) or len(said) != 2:
            return f"Return two numbers, the 2.5% and the 97.5% quantile of the resampled means, not {said!r}."
        off = max(abs(said[0] - wanted.low), abs(said[1] - wanted.high))
        if off > 0.04:
            return (
                f"For {sum(hits):.0f} of {len(hits)} your interval is {said[0]:.2f} to {said[1]:.2f}, and "
                f"{wanted.low:.2f} to {wanted.high:.2f} is right: resample as many as there are, with replacement."
            )
    return f"{RIGHT} It agrees with ours up to the chance in resampling."


def check_rescued(answer: object, right_after_wrong: float | None) -> str:
    """Check the share of right answers where the path was wrong, None where no path was."""
    if right_after_wrong is None:
        return EMPTY if answer is ... else f"{RIGHT} No path was wrong." if answer is None else "No path was wrong."
    return check_number(
        answer, right_after_wrong, "Divide answer_only by all with a wrong path: answer_only + neither.", 1e-3
    )  # fmt: skip


# -- 06 your model and data --------------------------------------------------------------------------------------------


def check_row(answer: object, folder: Any) -> str:
    """Check a row of questions.jsonl: a dictionary that the importer takes, with its picture in `folder`."""
    import shutil
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from insightv_core.errors import UserError
    from insightv_core.importing import RefusedRow, read_questions

    if answer is ...:
        return EMPTY
    if not isinstance(answer, dict):
        return f"A row is a dictionary with the keys image, question and answer, not {type(answer).__name__}."
    for key in ("image", "question", "answer"):
        if not str(answer.get(key) or "").strip():
            return f"The key {key!r} is missing or empty."
    picture = Path(folder) / str(answer["image"])
    if not picture.is_file():
        return f"There is no picture {picture.name} in {Path(folder).name}: name a file that was drawn above."
    with TemporaryDirectory() as place:
        shutil.copy(picture, place)
        try:
            (row,) = read_questions(write_rows([answer | {"image": picture.name}], Path(place)), Path(place) / "images")
        except UserError as error:
            return f"The importer refuses it: {error}"
    if isinstance(row, RefusedRow):
        return f"The importer refuses it: {row.reason}"
    return f"{RIGHT} It reads as a question of type {row.question.answer_type}."


def write_rows(rows: Sequence[dict], folder: Any) -> Any:
    """Write rows as questions.jsonl into a folder and return the file."""
    import json

    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def check_gigabytes(answer: object) -> str:
    """Check a function (billions of parameters, bytes a parameter) that returns gigabytes."""
    return check_function(
        answer, lambda billions, size: billions * size, [(7, 2), (7, 16), (0.003, 4)],
        "A billion parameters of one byte each are one gigabyte.",
    )  # fmt: skip
