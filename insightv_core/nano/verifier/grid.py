"""Claims about a grid of shapes: cells, rows, places, neighbours and counts."""

import re
from fractions import Fraction

from insightv_core.nano.scenes import Mark, ShapeGrid
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.text import NUM, ORDINALS, Found, Judged, Sentence, negated, number, rule

_ORDINAL = "|".join(
    [
        *ORDINALS,
        "ord[0-9]",
        "top",
        "upper",
        "bottom",
        "lower",
        "last",
        "middle",
        "left",
        "right",
        "leftmost",
        "rightmost",
    ]
)
_AXIS = (
    (rule(rf"(?:the )?row (?:number )?({NUM})"), "r"),
    (rule(rf"(?:the )?(?:column|col) (?:number )?({NUM})"), "c"),
    (rule(rf"(?:the )?({_ORDINAL}) row"), "r"),
    (rule(rf"(?:the )?({_ORDINAL}) (?:column|col)"), "c"),
)
_JOIN = r"(?:(?:,|and|of|in|at|from|-|/|the|is) )*"
_CELLS = (
    (
        rule(
            rf"(?:(?:the )?(?:cell|position|spot|place|square)s? (?:at |in |"
            rf"of )?)?\(? ?@r(\d+) {_JOIN}@c(\d+)(?: \))?"
        ),
        False,
    ),
    (rule(rf"(?:(?:the )?(?:cell|position|spot|place) (?:at |in |of )?)?\(? ?@c(\d+) {_JOIN}@r(\d+)(?: \))?"), True),
    (rule(r"(?:(?:the )?(?:cell|position|spot|place) (?:at |in )?)?\( ([0-9]) , ([0-9]) \)"), False),
    (rule(rf"(?:the )?({_ORDINAL}) (?:cell|position|spot|place|entry) (?:of|in) @r(\d+)"), True),
    (rule(rf"@r(\d+) (?:,|:)? ?(?:cell|position|spot|place) (?:number )?({NUM})"), False),
    (rule(r"(?:the )?(top|upper|bottom|lower) (left|right)(?: (?:corner|cell|one))*"), False),
)
_NOUN = r"(?:shapes?|marks?|ones?|figures?|symbols?|objects?|items?|things?|pieces?)"
_KIND = rf"(?:\$[a-z]+ &[a-z]+|\$[a-z]+(?: {_NOUN})?|&[a-z]+(?: shapes?)?)"
_EMPTY = r"(?:empty(?: cells?| spots?)?|blank(?: cells?)?|nothing|none)"
_ART = r"(?:(?:a|an|the|one|1|only|single|is|there) )*"
_ITEM = rf"(?:{_ART}(?:{_KIND}|{_EMPTY}))"
_ROW_LIST = rule(
    rf"@([rc])(\d+) ((?:(?:is|are|:|=|-|has|have|contains?|shows?|reads|consists of|holds|from left to right|"
    rf"left to right|,|goes|with) )+)({_ITEM}(?:(?: ,| and| then| \+| /)+ {_ITEM})+)(?: in (?:that|this) order)?"
)
_HERE = (
    r"(?:(?:is|are|was|:|=|-|->|has|have|contains?|shows?|holds|there|a|an|the|one|not|also|now|,|we|find|see|"
    r"sits|lies|which|itself|color|shape|left|in|at) )"
)
_CELL_IS = rule(rf"(?:(?:in|at|to) )?@(\d+):(\d+) ((?:{_HERE}){{0,7}})({_KIND}|{_EMPTY})(?! (?:at|in|of) @)")
_TALLY = rule(rf"\( ({_KIND}) ({NUM}) \)")
_KIND_AT = rule(
    rf"((?:the |only |a |an |one )*)({_KIND}|{_EMPTY}) ((?:(?:is|are|was|sits|lies|located|found|placed|at|in|on|"
    rf"appears|stands|not|:|=|the|cell|position|which|that|->|-|comes|shape|,) )*)(@\d+:\d+(?:(?: ,| and| ,and|"
    rf", and)+ @\d+:\d+)*)(?: (is|has|looks)( not)? (?:a |an |the |color )*({_KIND}))?"
)
_KIND_IN_ROW = rule(
    rf"((?:the |only |a |an |one )*)({_KIND}) ((?:(?:is|are|appears|sits|lies|located|found|placed|at|in|on|not|"
    rf":|the|which|that) )+)@([rc])(\d+)"
)
_ROW_EMPTY = rule(rf"@([rc])(\d+) (?:is |: |are )((?:not |all |completely |entirely )*)({_EMPTY})(?! ,)")
_COUNT_WORD = rf"(?:{NUM}|no|zero|once|twice|none|single)"
_ROW_COUNT = rule(
    rf"(?:in )?(?:the )?@([rc])(\d+) ((?:(?:has|have|is|are|:|=|,|there|contains?|shows?|holds|only|exactly|with|"
    rf"not|just|we|see|find|also|-) )*)({_COUNT_WORD}|a|an)(?: ({_KIND}|{_EMPTY}|{_NOUN}))?(?! [-+*/=])"
)
_COUNT_IN_ROW = rule(
    rf"({_COUNT_WORD}) ({_KIND}|{_NOUN}|empty cells?) (?:(?:is|are|in|on|of|appear|appears|the) )+@([rc])(\d+)"
)
_COUNT_OF = rule(
    rf"(?:(?:the|total) )*(?:number|count|amount) of (?:the )?({_KIND}|{_NOUN}|{_EMPTY}) ((?:(?:is|are|=|:|not|"
    rf"in|the|grid|here|there|equals) )+)({NUM})"
)
_TIMES = rule(
    rf"(?:(?:the|a|color|shape) )*({_KIND}) ((?:(?:appears?|occurs?|is|are|there|seen|shows|up|comes|not|only|"
    rf"just|exactly|in|the|grid|found|present) )+)(once|twice|{NUM} times?)"
)
_ONLY = rule(rf"(?:the |there is |there is only |only )*(?:only|just|exactly) (?:one|1|a single) ({_KIND})")
_KINDS = rule(rf"({NUM}) (?:different |distinct |kinds of |types of )+(colors|shapes|kinds of shapes?|{_NOUN})")
_COUNT = rule(
    rf"((?:not |only |exactly |just |is |are )*)({_COUNT_WORD}|all)(?: of the)?(?: [a-z]+)? ({_KIND}|"
    rf"empty cells?|cells? (?:is |are )?empty|{_NOUN})(?: (?:is|are) (\$[a-z]+))?(?! (?:above|below|left|right|"
    rf"up|down|of @))"
)
_COUNT_AFTER = rule(rf"({_KIND}|empty cells|empty) (?::|=|->|-|\() ({NUM})")
_COUNTS_ALONE = rule(rf"(?:(?<=^ )|(?<=, ))({_KIND}) ({NUM})(?= [,:]| $)")
_THERE_IS = rule(
    rf"there (?:is|are) (not |no |also |no longer )*(?:a|an|any|some) ({_KIND}|empty cell)(?! (?:at|in|above|"
    rf"below|left|right|to the))"
)
_MORE = rule(rf"(more|fewer|less|as many|the same number of) ({_KIND}|empty cells) (?:than|as) ({_KIND}|empty cells)")
_OUTNUMBER = rule(rf"(?:the )?({_KIND}|empty cells) outnumber (?:the )?({_KIND}|empty cells)")
_WAY = (
    r"(?:directly |immediately |just |one (?:cell |step )?|1 (?:cell |step )?)?(?:to )?(?:the )?(left|right|"
    r"above|below|under|over|underneath|beneath)(?: side)?(?: of| to| from)?"
)
_WAY_IS = rule(
    rf"{_WAY} (?:the |a |an )*({_KIND}|@\d+:\d+) ((?:(?:is|there|we|find|see|has|lies|sits|not|:|"
    rf"stands) )+)(?:a |an |the )*({_KIND}|{_EMPTY}|@\d+:\d+)"
)
_IS_WAY = rule(
    rf"(?:(?:a|an|the) )*({_KIND}|{_EMPTY}) ((?:(?:is|lies|sits|stands|located|found|directly|immediately|just|"
    rf"not|which|that) )+){_WAY} (?:the |a |an )*({_KIND}|@\d+:\d+)"
)
_MOVE = rule(
    rf"(?:going |go |moving |move |step |stepping )?({NUM}) (?:steps? |cells? |places? )?(?:to the )?(right|left|"
    rf"up|down|above|below)(?: from (?:there|here|it|@(\d+):(\d+)))?((?: (?:is|:|we|get|to|are|at|in|leads|gives|"
    rf"brings|us|reach|=|->|,|lands|on))+) @(\d+):(\d+)"
)

STEPS = {
    "left": (0, -1), "right": (0, 1), "above": (-1, 0), "over": (-1, 0), "up": (-1, 0),
    "below": (1, 0), "under": (1, 0), "underneath": (1, 0), "beneath": (1, 0), "down": (1, 0),
}  # fmt: skip

Cell = tuple[int, int]


def fits(mark: Mark | None, kind: str) -> bool:
    """Tell whether a cell is of a kind such as "$red &circle", "$red shapes", "&star", "shapes" or "empty"."""
    if re.match(r"empty|blank|nothing|none|cell", kind):
        return mark is None
    color, shape = re.search(r"\$([a-z]+)", kind), re.search(r"&([a-z]+)", kind)
    return mark is not None and (not color or mark.color == color[1]) and (not shape or mark.shape == shape[1])


def say_kind(kind: str) -> str:
    """Write a kind as plain words."""
    return kind.replace("$", "").replace("&", "")


def say_cell(scene: ShapeGrid, cell: Cell) -> str:
    """Write what a cell holds."""
    mark = mark_at(scene, cell)
    return f"row {cell[0]}, column {cell[1]} is {f'a {mark.color} {mark.shape}' if mark else 'empty'}"


def inside(scene: ShapeGrid, cell: tuple[Fraction | int, Fraction | int]) -> bool:
    """Tell whether a cell, counted from 1, is in the grid."""
    return 1 <= cell[0] <= len(scene.cells) and 1 <= cell[1] <= len(scene.cells[0])


def mark_at(scene: ShapeGrid, cell: Cell) -> Mark | None:
    """Return what a cell of the grid holds."""
    return scene.cells[cell[0] - 1][cell[1] - 1]


def find_cells(scene: ShapeGrid, kind: str) -> list[Cell]:
    """Return every cell of a kind."""
    size = range(1, len(scene.cells) + 1)
    return [(row, column) for row in size for column in size if fits(mark_at(scene, (row, column)), kind)]


def line_of(scene: ShapeGrid, axis: str, index: int) -> list[Mark | None] | None:
    """Return a row or column, counted from 1, None outside the grid."""
    if not 1 <= index <= len(scene.cells):
        return None
    return list(scene.cells[index - 1]) if axis == "r" else [row[index - 1] for row in scene.cells]


def name_places(sentence: Sentence, scene: ShapeGrid) -> None:
    """Join the words for rows, columns and cells."""
    size = len(scene.cells)

    def index(word: str) -> int:
        if word[-1].isdigit():
            return int(word.removeprefix("ord")) if word.removeprefix("ord").isdigit() and len(word) < 6 else 0
        if word in ("middle",):
            return (size + 1) // 2 if size % 2 else 0
        edges = {"top": 1, "upper": 1, "left": 1, "leftmost": 1}
        return ORDINALS.get(word) or edges.get(word) or size

    for pattern, axis in _AXIS:

        def line(match: re.Match, axis: str = axis) -> Found:
            return Found(canon=f"@{axis}{index(match[1])}")

        sentence.rewrite(pattern, line)
    for pattern, swapped in _CELLS:

        def cell(match: re.Match, swapped: bool = swapped) -> Found:
            one, two = index(match[1]), index(match[2])
            return Found(canon=f"@{two}:{one}" if swapped else f"@{one}:{two}")

        sentence.rewrite(pattern, cell)


def read_grid(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge everything that the sentence says of the grid."""
    scene = facts.scene
    if not isinstance(scene, ShapeGrid):
        return
    sentence.rewrite(_MOVE, lambda m: _judge_move(m, scene, context))
    sentence.rewrite(_WAY_IS, lambda m: _judge_way(m[1], m[2], m[4], negated(m[3]), True, scene))
    sentence.rewrite(_IS_WAY, lambda m: _judge_way(m[3], m[4], m[1], negated(m[2]), False, scene))
    sentence.rewrite(_TALLY, lambda m: _judge_tally(m, scene))
    sentence.rewrite(_ROW_LIST, lambda m: _judge_row(m, scene))
    sentence.rewrite(_KIND_AT, lambda m: _judge_kind_at(m, scene, context))
    sentence.rewrite(_CELL_IS, lambda m: _judge_cell(m, scene, context))
    for at in re.findall(r"@(\d+):(\d+)", sentence.line()):
        context.cell = (int(at[0]), int(at[1]))
    read_grid_counts(sentence, scene, context)


def read_grid_counts(sentence: Sentence, scene: ShapeGrid, context: Context) -> None:
    """Judge counts over the grid or one row of it."""
    if re.search(r" (?:each|every|per) ", sentence.line()):
        return
    sentence.rewrite(_ROW_EMPTY, lambda m: _judge_row_empty(m, scene))
    sentence.rewrite(_KIND_IN_ROW, lambda m: _judge_in_row(m, scene))
    sentence.rewrite(_COUNT_IN_ROW, lambda m: _judge_row_count(m[3], m[4], "", m[1], m[2], scene, context))
    sentence.rewrite(_ROW_COUNT, lambda m: _judge_row_count(m[1], m[2], m[3], m[4], m[5], scene, context))
    sentence.rewrite(_MORE, lambda m: _judge_more(m[1], m[2], m[3], scene))
    sentence.rewrite(_OUTNUMBER, lambda m: _judge_more("more", m[1], m[2], scene))
    sentence.rewrite(_COUNT_OF, lambda m: _judge_count(m[3], m[1], m[2], scene, context))
    sentence.rewrite(_TIMES, lambda m: _judge_count(m[3], m[1], m[2], scene, context))
    sentence.rewrite(_ONLY, lambda m: _judge_count("1", m[1], "", scene, context))
    sentence.rewrite(_KINDS, lambda m: _judge_kinds(m, scene))
    sentence.rewrite(_THERE_IS, lambda m: _judge_some(m[2], bool(m[1]) and m[1] != "also ", scene))
    sentence.rewrite(_COUNT, lambda m: _judge_all(m, scene, context))
    sentence.rewrite(_COUNT_AFTER, lambda m: _judge_count(m[2], m[1], "", scene, context))
    if not re.search(r" @[rc]?\d", sentence.line()):  # "red 3, blue 1" after a row or cell may be of it alone
        sentence.rewrite(_COUNTS_ALONE, lambda m: _judge_count(m[2], m[1], "", scene, context))


# -- cells and places --------------------------------------------------------------------------------------------


def _judge_move(match: re.Match, scene: ShapeGrid, context: Context) -> Found:
    """Judge where a move from the cell before leads."""
    before = re.findall(r"@(\d+):(\d+)", match.string[: match.start()])
    start = (
        (int(match[3]), int(match[4]))
        if match[3]
        else (int(before[-1][0]), int(before[-1][1]))
        if before
        else context.cell
    )
    end = (int(match[6]), int(match[7]))
    context.cell = end
    down, right = STEPS[match[2]]
    count = number(match[1])
    if start is None:
        back = (end[0] - down * count, end[1] - right * count)
        truth = None if inside(scene, end) and inside(scene, back) else False
        reason = "it is not said where the move starts" if truth is None else "the move leaves the grid"
        return Found((Judged(truth, reason),), f"@{end[0]}:{end[1]}")
    exact = (start[0] + down * count, start[1] + right * count)
    reason = f"from row {start[0]}, column {start[1]} it leads to row {exact[0]}, column {exact[1]}"
    return Found((Judged(exact == end and inside(scene, end), reason),), f"there @{end[0]}:{end[1]}")


def _judge_way(way: str, reference: str, said: str, denied: bool, next_to: bool, scene: ShapeGrid) -> Found:
    """Judge what lies beside a mark or cell; a mark must be the only one of its kind to be a reference."""
    if reference[0] == "@":
        row, column = map(int, reference[1:].split(":"))
        places = [(row, column)] if inside(scene, (row, column)) else []
    else:
        places = find_cells(scene, reference)
    if len(places) != 1:
        return Found((Judged(None, f"there are {len(places)} of {say_kind(reference)}"),))
    down, right = STEPS[way]
    near = (places[0][0] + down, places[0][1] + right)
    if said[0] == "@":
        return Found((Judged((said == f"@{near[0]}:{near[1]}") != denied, f"it is row {near[0]}, column {near[1]}"),))
    if not inside(scene, near):
        return Found((Judged(said.startswith("nothing") != denied, "that is outside the grid"),))
    holds = fits(mark_at(scene, near), said)
    truth: bool | None = holds != denied
    if not next_to and not holds and _lies_beyond(scene, places[0], (down, right), said):
        truth = None
    return Found((Judged(truth, say_cell(scene, near)),))


def _lies_beyond(scene: ShapeGrid, start: Cell, step: Cell, kind: str) -> bool:
    """Tell whether a mark of the kind lies anywhere on that side."""
    return any(
        (row - start[0]) * step[0] + (column - start[1]) * step[1] > 0 for row, column in find_cells(scene, kind)
    )


def _judge_row(match: re.Match, scene: ShapeGrid) -> Found:
    """Judge a row's list position by position; a list introduced by "has" may leave out the order."""
    line = line_of(scene, match[1], int(match[2]))
    axis = "row" if match[1] == "r" else "column"
    if line is None:
        return Found((Judged(False, f"the grid has no {axis} {match[2]}"),))
    items = re.findall(rf"{_KIND}|{_EMPTY}", match[4])
    holds = len(items) == len(line) and all(fits(mark, item) for mark, item in zip(line, items, strict=True))
    if not holds and re.search(r"has|have|contain|holds|with", match[3]):
        holds = _can_pair(line, items)
    shown = ", ".join(f"{mark.color} {mark.shape}" if mark else "empty" for mark in line)
    return Found((Judged(holds, f"{axis} {match[2]} is {shown}"),))


def _judge_tally(match: re.Match, scene: ShapeGrid) -> Found | None:
    """Judge a count told beside a mark of a row, "Row 2: empty, red star (red 3)": so many came up to there."""
    before = match.string[: match.start()]
    rows = list(re.finditer(r"@r(\d+) ", before))
    if not rows:
        return None
    row = int(rows[-1][1])
    column = len(re.findall(rf"{_KIND}|{_EMPTY}", re.sub(_TALLY, "", before[rows[-1].end() :] + " ")))
    if not inside(scene, (row, column)):
        return Found((Judged(False, f"the grid has no row {row}, column {column}"),), ",")
    come = sum(place <= (row, column) for place in find_cells(scene, match[1]))
    return Found((Judged(come == number(match[2]), f"{come} of {say_kind(match[1])} have come up to there"),), ",")


def _can_pair(line: list[Mark | None], items: list[str]) -> bool:
    """Tell whether each item can have a cell of its own; the most exact items choose first."""
    left = list(line)
    for item in sorted(items, key=lambda item: -item.count("$") - item.count("&")):
        at = next((at for at, mark in enumerate(left) if fits(mark, item)), None)
        if at is None:
            return False
        left.pop(at)
    return True


def _judge_kind_at(match: re.Match, scene: ShapeGrid, context: Context) -> Found:
    """Judge "the star is at row 1, column 2" and "the circle in row 2, column 3 is red"."""
    kind, claims = match[2], []
    for row, column in re.findall(r"@(\d+):(\d+)", match[4]):
        cell = (int(row), int(column))
        context.cell = cell
        if not inside(scene, cell):
            claims.append(Judged(False, f"the grid has no row {row}, column {column}"))
            continue
        mark = mark_at(scene, cell)
        truth = fits(mark, kind) != negated(match[3])
        if match[7]:
            truth = truth and fits(mark, match[7]) != bool(match[6])
        claims.append(Judged(truth, say_cell(scene, cell)))
    if "only" in match[1] and len(find_cells(scene, kind)) != 1:
        claims.append(Judged(False, f"there are {len(find_cells(scene, kind))} of {say_kind(kind)}"))
    return Found(tuple(claims), " , ".join(re.findall(r"@\d+:\d+", match[4])))


def _judge_cell(match: re.Match, scene: ShapeGrid, context: Context) -> Found:
    cell = (int(match[1]), int(match[2]))
    context.cell = cell
    if not inside(scene, cell):
        return Found((Judged(False, f"the grid has no row {cell[0]}, column {cell[1]}"),))
    return Found((Judged(fits(mark_at(scene, cell), match[4]) != negated(match[3]), say_cell(scene, cell)),))


# -- counts ------------------------------------------------------------------------------------------------------


def _amount(word: str) -> Fraction | int:
    words = {"no": 0, "none": 0, "once": 1, "twice": 2, "a": 1, "an": 1, "single": 1}
    return words[word] if word in words else number(word.split()[0])


def _judge_row_empty(match: re.Match, scene: ShapeGrid) -> Found | None:
    line = line_of(scene, match[1], int(match[2]))
    if line is None:
        return None
    return Found((Judged(any(line) == negated(match[3]), f"it has {sum(mark is not None for mark in line)} shapes"),))


def _judge_in_row(match: re.Match, scene: ShapeGrid) -> Found | None:
    line = line_of(scene, match[4], int(match[5]))
    if line is None:
        return Found((Judged(False, "the grid has no such row or column"),))
    count = sum(fits(mark, match[2]) for mark in line)
    truth = (count > 0) != negated(match[3])
    if "only" in match[1]:
        truth = truth and len(find_cells(scene, match[2])) == 1
    return Found((Judged(truth, f"it has {count} of {say_kind(match[2])}"),))


def _judge_row_count(
    axis: str, index: str, words: str, told: str, kind: str | None, scene: ShapeGrid, context: Context
) -> Found | None:
    """Judge "row 1 has 2 stars"; "row 2 has 1" counts the same kind again."""
    line = line_of(scene, axis, int(index))
    kind = kind or context.noun
    if not kind:
        return None
    if line is None:
        return Found((Judged(False, "the grid has no such row or column"),))
    context.noun = kind
    count = sum(fits(mark, kind) for mark in line)
    holds = count >= 1 if told in ("a", "an") else count == _amount(told)
    where = f"{'row' if axis == 'r' else 'column'} {index}"
    return Found((Judged(holds != negated(words), f"{where} has {count} of {say_kind(kind)}"),), f"@{axis}{index}")


def _judge_count(told: str, kind: str, words: str, scene: ShapeGrid, context: Context) -> Found:
    count = len(find_cells(scene, kind))
    context.noun = kind
    return Found((Judged((count == _amount(told)) != negated(words), f"there are {count} of {say_kind(kind)}"),))


def _judge_all(match: re.Match, scene: ShapeGrid, context: Context) -> Found:
    kind, color = match[3], match[4]
    if color and "$" in kind:
        color = None
    if match[2] == "all":
        cells = find_cells(scene, kind)
        if not color:
            return Found((Judged(None, "it is not said what all of them are"),))
        return Found((Judged(all(fits(mark_at(scene, cell), color) for cell in cells), "not every one is counted"),))
    shape = re.search(r"&[a-z]+", context.noun)
    if shape and re.fullmatch(r"\$[a-z]+", kind):  # "2 stars: one blue, one red"
        both = len(find_cells(scene, f"{kind} {shape[0]}"))
        if (both == _amount(match[2])) != negated(match[1]):
            return Found((Judged(True, f"there are {both} of {say_kind(kind)} {shape[0][1:]}"),))
    return _judge_count(match[2], f"{color} {kind}" if color else kind, match[1], scene, context)


def _judge_some(kind: str, denied: bool, scene: ShapeGrid) -> Found:
    count = len(find_cells(scene, kind))
    return Found((Judged((count > 0) != denied, f"there are {count} of {say_kind(kind)}"),))


def _judge_kinds(match: re.Match, scene: ShapeGrid) -> Found:
    marks = [mark for row in scene.cells for mark in row if mark]
    seen = {mark.color for mark in marks} if match[2] == "colors" else {mark.shape for mark in marks}
    return Found((Judged(number(match[1]) == len(seen), f"there are {len(seen)} different {match[2]}"),))


def _judge_more(word: str, one: str, two: str, scene: ShapeGrid) -> Found:
    first, second = len(find_cells(scene, one)), len(find_cells(scene, two))
    holds = {"more": first > second, "fewer": first < second, "less": first < second}.get(word, first == second)
    return Found((Judged(holds, f"there are {first} of {say_kind(one)} and {second} of {say_kind(two)}"),))
