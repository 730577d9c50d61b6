"""Question families about tables, the production table of the paper's Figure 5 among them."""

from random import Random

from insightv_core.nano.questions.family import Family
from insightv_core.nano.questions.writer import Named, Writer, compare, runs_of, side
from insightv_core.nano.scenes import (
    COLUMN_PAIRS,
    ProductionTable,
    Table,
    sample_production_table,
    sample_table,
)

LETTERS = "ABCD"
READ_TABLE = ("Read the table", "Read the rows", "Collect the numbers")


# -- table_best_product ------------------------------------------------------------------------------------------


def products_of(scene: Table) -> dict[str, int]:
    """Return price times sold of every row."""
    return {name: cells[0] * cells[1] for name, cells in zip(scene.rows, scene.cells, strict=True)}


def ask_best_product(scene: Table, rng: Random) -> dict | None:
    products = sorted(products_of(scene).values())
    suits = scene.columns == COLUMN_PAIRS[0] and products[-1] != products[-2]
    return {} if suits else None


def write_best_product(scene: Table, asked: dict, writer: Writer) -> str:
    rows = list(zip(scene.rows, scene.cells, strict=True))
    plan = writer.choose(0.4, 0.35, 0.25)
    if plan == 1:
        read = [f"{name}: {scene.columns[0]} {price}, {scene.columns[1]} {sold}" for name, (price, sold) in rows]
        writer.step(READ_TABLE, ". ".join(read) + ".")
    best: Named | None = None
    for part in runs_of(rows, 2) if plan == 0 else runs_of(rows, 3) if plan == 2 else [rows]:
        earned = [(name, *writer.compute("x", price, sold)) for name, (price, sold) in part]
        text, best = writer.best_along([(f"{name}: {text}", (name, made)) for name, text, made in earned], "best", best)
        writer.step(("Multiply", "Price times sold"), text)
    if best is None:
        raise ValueError("a table without rows has no best one")
    writer.step(("Find the best", "Compare"), f"The best is {best[0]} with {best[1]}.")
    return best[0]


TABLE_BEST_PRODUCT = Family(
    name="table_best_product",
    answer_type="word",
    sample=sample_table,
    pictures=(Table,),
    ask=ask_best_product,
    solve=lambda scene, asked: max(products_of(scene), key=lambda name: products_of(scene)[name]),
    write=write_best_product,
    phrasings=(
        "Which item brought in the most money?",
        "Which item has the highest price times sold?",
        "What brought in the most, price times sold?",
        "For which item is price times sold the largest?",
        "Multiply price and sold. Which item is the best?",
        "Which item earned the most?",
    ),
    held_out=("Which item brought in the most?", "For which item is the money earned the largest?"),
)

# -- table_column_difference -------------------------------------------------------------------------------------


def column_totals(scene: Table) -> list[int]:
    """Return the total of each column."""
    return [sum(column) for column in zip(*scene.cells, strict=True)]


def ask_column_difference(scene: Table, rng: Random) -> dict | None:
    totals = column_totals(scene)
    if totals[0] == totals[1]:
        return None
    first, second = (0, 1) if totals[0] > totals[1] else (1, 0)
    return {"first": first, "second": second, "one": scene.columns[first], "two": scene.columns[second]}


def write_column_difference(scene: Table, asked: dict, writer: Writer) -> str:
    columns = list(zip(*scene.cells, strict=True))
    plan = writer.choose(0.4, 0.35, 0.25)
    if plan == 1:
        read = [
            f"{name}: {scene.columns[0]} {cells[0]}, {scene.columns[1]} {cells[1]}"
            for name, cells in zip(scene.rows, scene.cells, strict=True)
        ]
        writer.step(READ_TABLE, ". ".join(read) + ".")
    totals = {}
    order = (asked["second"], asked["first"]) if plan == 2 else (asked["first"], asked["second"])
    for column in order:
        text, totals[column] = writer.running_total(list(zip(scene.rows, columns[column], strict=True)))
        writer.step((f"Add up {scene.columns[column]}", "Add a column"), f"{scene.columns[column]}: {text}.")
    # As they came, then set against each other: told in the question's order, every other one took the smaller first.
    (one, left), (two, right) = ((scene.columns[column], total) for column, total in totals.items())
    text, difference = writer.compute("-", max(left, right), min(left, right))
    compared, _ = side((f"Total {one}", left), (f"total {two}", right))
    writer.step(("Subtract", "Difference"), f"{compared}, {text}.")
    return str(difference)


TABLE_COLUMN_DIFFERENCE = Family(
    name="table_column_difference",
    answer_type="integer",
    sample=sample_table,
    pictures=(Table,),
    ask=ask_column_difference,
    solve=lambda scene, asked: str(abs(column_totals(scene)[0] - column_totals(scene)[1])),
    write=write_column_difference,
    phrasings=(
        "How much larger is the total of {one} than the total of {two}?",
        "What is the total of {one} minus the total of {two}?",
        "Add up {one} and {two}. By how much is {one} larger?",
        "By how much does the sum of {one} exceed the sum of {two}?",
        "What is the difference between the totals of {one} and {two}?",
        "Subtract the total of {two} from the total of {one}.",
    ),
    held_out=(
        "By how much is the total of {one} larger than the total of {two}?",
        "What is the difference between the sum of {one} and the sum of {two}?",
    ),
)

# -- production_false --------------------------------------------------------------------------------------------


def say_workers(count: int) -> str:
    """Return "1 worker" or "3 workers"."""
    return f"{count} worker" + "s" * (count != 1)


def draw_statement(scene: ProductionTable, rng: Random, true: bool) -> tuple[str, dict]:
    """Draw a statement about the table, true or false: its text, and what it is about."""
    kind = rng.choice(("output", "marginal", "marginal", "revenue", "revenue"))
    workers = rng.randint(2, len(scene.output))
    exact = {
        "output": scene.output[workers - 1],
        "marginal": scene.output[workers - 1] - scene.output[workers - 2],
        "revenue": scene.revenue[workers - 1],
    }[kind]
    wrong = [exact + shift for shift in (-2, -1, 1, 2, *((10, -10) if exact > 20 else ())) if exact + shift > 0]
    value = exact if true else rng.choice(wrong)
    text = {
        "output": f"The output of {say_workers(workers)} is {value}.",
        "marginal": f"The marginal product of worker {workers} is {value}.",
        "revenue": f"The revenue with {say_workers(workers)} is {value}.",
    }[kind]
    return text, {"kind": kind, "workers": workers, "value": value}


def ask_production_false(scene: ProductionTable, rng: Random) -> dict | None:
    false_at = rng.randrange(len(LETTERS))
    drawn = [draw_statement(scene, rng, at != false_at) for at in range(len(LETTERS))]
    if len({text for text, _ in drawn}) < len(LETTERS):
        return None
    return {"options": [text for text, _ in drawn], "claims": [claim for _, claim in drawn]}


def check_statement(scene: ProductionTable, letter: str, claim: dict, said: str, writer: Writer) -> tuple[str, bool]:
    """Say a statement again, work out what it is about and set one against the other: the text, and if it holds."""
    workers = claim["workers"]
    here, before = scene.output[workers - 1], scene.output[workers - 2]
    made = f"{say_workers(workers)} make {here}"
    if claim["kind"] == "output":
        exact, text = here, made
    elif claim["kind"] == "marginal":
        text, exact = writer.compute("-", here, before)
        fewer = f"{say_workers(workers - 1)} make{'s' * (workers == 2)} {before}"
        text = f"{made}, {fewer}. {text}"
    else:
        text, exact = writer.compute("x", here, scene.price)
        text = f"{made}, the price is {scene.price}. {text}"
    compared = compare(exact, claim["value"])
    holds = compared == "the same"
    verdict = f"{exact} against {claim['value']} is {compared}, so {letter} is {'true' if holds else 'false'}"
    return f"{letter} says: {said} {text}, {verdict}.", holds


def write_production_false(scene: ProductionTable, asked: dict, writer: Writer) -> str:
    plan = writer.choose(0.45, 0.35, 0.2)
    if plan == 2:
        read = [f"{say_workers(count)} make {made}" for count, made in enumerate(scene.output, 1)]
        writer.step(
            READ_TABLE, f"The price is {scene.price}. {', '.join(read)}.".replace("1 worker make", "1 worker makes")
        )
    found = []
    for letter, claim, said in zip(LETTERS, asked["claims"], asked["options"], strict=True):
        text, holds = check_statement(scene, letter, claim, said, writer)
        writer.step((f"Check {letter}", f"Statement {letter}"), text)
        found += [] if holds else [letter]
        if found and plan == 0:
            break
    answer = found[0] if found else writer.rng.choice(LETTERS)
    writer.step(("Conclude", "Decide"), f"The false statement is {answer}.")
    return answer


def solve_production_false(scene: ProductionTable, asked: dict) -> str:
    for letter, claim in zip(LETTERS, asked["claims"], strict=True):
        made = (0, *scene.output)
        exact = {
            "output": made[claim["workers"]],
            "marginal": made[claim["workers"]] - made[claim["workers"] - 1],
            "revenue": made[claim["workers"]] * scene.price,
        }[claim["kind"]]
        if exact != claim["value"]:
            return letter
    raise ValueError(f"no statement of {asked['options']} is false")


PRODUCTION_FALSE = Family(
    name="production_false",
    answer_type="option",
    sample=sample_production_table,
    pictures=(ProductionTable,),
    ask=ask_production_false,
    solve=solve_production_false,
    write=write_production_false,
    phrasings=(
        "Which statement is false?",
        "Which of these statements is false?",
        "One of the statements is false. Which one?",
        "Find the false statement.",
        "Which statement does not match the table?",
        "Which of the statements is not true?",
    ),
    held_out=("Which one of the statements is false?", "Which statement is not true?"),
)

# -- production_extra_revenue ------------------------------------------------------------------------------------


def write_extra_revenue(scene: ProductionTable, asked: dict, writer: Writer) -> str:
    workers = asked["workers"]
    here, before = scene.output[workers - 1], scene.output[workers - 2]
    if writer.choose(0.6, 0.4) == 0:
        read = f"With {say_workers(workers - 1)} the output is {before}, with {say_workers(workers)} it is {here}."
        writer.step(("Read the output", "Find the rows"), read)
        text, marginal = writer.compute("-", here, before)
        writer.step(("Marginal product", "Extra output"), text + ".")
        writer.step(("Read the price", "Price"), f"The price is {scene.price}.")
        text, extra = writer.compute("x", marginal, scene.price)
        writer.step(("Times the price", "Extra revenue"), text + ".")
        return str(extra)
    after, former = scene.revenue[workers - 1], scene.revenue[workers - 2]
    read = f"The revenue with {say_workers(workers - 1)} is {former}, with {say_workers(workers)} it is {after}."
    writer.step(("Read the revenue", "Find the rows"), read)
    text, extra = writer.compute("-", after, former)
    writer.step(("Subtract", "Extra revenue"), text + ".")
    return str(extra)


PRODUCTION_EXTRA_REVENUE = Family(
    name="production_extra_revenue",
    answer_type="integer",
    sample=sample_production_table,
    pictures=(ProductionTable,),
    ask=lambda scene, rng: {"workers": rng.randint(2, len(scene.output))},
    solve=lambda scene, asked: str(
        scene.price * (scene.output[asked["workers"] - 1] - scene.output[asked["workers"] - 2])
    ),
    write=write_extra_revenue,
    phrasings=(
        "By how much does the revenue grow with worker {workers}?",
        "How much revenue does worker {workers} add?",
        "What is the marginal product of worker {workers} times the price?",
        "How much more revenue is there once worker {workers} is there?",
        "What is the extra revenue of worker {workers}?",
        "What does worker {workers} add to the revenue?",
    ),
    held_out=(
        "How much does worker {workers} add to the revenue?",
        "By how much does worker {workers} make the revenue grow?",
    ),
)

# -- perception --------------------------------------------------------------------------------------------------


def ask_table_cell(scene: Table, rng: Random) -> dict:
    row, column = rng.randrange(len(scene.rows)), rng.randrange(len(scene.columns))
    return {"row": row, "column": column, "name": scene.rows[row], "head": scene.columns[column]}


def write_table_cell(scene: Table, asked: dict, writer: Writer) -> str:
    value = scene.cells[asked["row"]][asked["column"]]
    writer.step(("Find the row", "Read the row"), f"{asked['name']}: {asked['head']} {value}.")
    return str(value)


TABLE_CELL = Family(
    name="table_cell",
    perception=True,
    answer_type="integer",
    sample=sample_table,
    pictures=(Table,),
    ask=ask_table_cell,
    solve=lambda scene, asked: str(scene.cells[asked["row"]][asked["column"]]),
    write=write_table_cell,
    phrasings=(
        "What does the table show for {name} under {head}?",
        "What is the number for {name} under {head}?",
        "Read the {head} column for {name}.",
        "What is {head} for {name}?",
        "In the row {name}, what is the value of {head}?",
        "What number does {name} have under {head}?",
    ),
    held_out=(
        "What value does the table show for {name} under {head}?",
        "Under {head}, what is the number for {name}?",
    ),
)

TABLE_FAMILIES = (
    TABLE_BEST_PRODUCT, TABLE_COLUMN_DIFFERENCE, PRODUCTION_FALSE, PRODUCTION_EXTRA_REVENUE, TABLE_CELL,
)  # fmt: skip
