"""Claims about tables: cells named by row and column, their totals and products, and the table of a firm."""

import re

from insightv_core.nano.scenes import ProductionTable, Table
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.numbers import first_operands, same_numbers
from insightv_core.nano.verifier.text import NUM, ORDINALS, Found, Judged, Sentence, Token, negated, number, rule, show

_ROW = r"@([a-z]+)"
_COLUMN = r"%([a-z]+)"
_OF = r"(?:of|for|at|by|from|in|with|from having|:(?= @m:)) (?:the |having |all |only |hiring )*"
_ORDINAL = "|".join([*ORDINALS, "ord[0-9]"])
_FIRM_WORDS = (
    (rule(rf"from ({NUM}) (?:workers? )?(?:to|up to) ({NUM}) workers?"), "step"),
    (rule(rf"({NUM}) (?:workers?|people|employees|men)"), "@w:"),
    (rule(rf"workers? (?:number |no )?({NUM})"), "@m:"),
    (rule(rf"({_ORDINAL}) (?:workers?|employee)"), "@m:"),
    (rule(r"(?:a single|just one|only one|one) worker|a worker"), "@w:1"),
    (rule(r"marginal revenues?(?: product)?|(?:extra|additional|added) revenues?"), "%gain"),
    (
        rule(
            r"marginal (?:products?|outputs?)(?: of labor| of labour)?|(?:extra|additional|added) (?:outputs?|"
            r"units)"
        ),
        "%marginal",
    ),
    (rule(r"(?:total )?(?:revenues?|income|earnings|sales)|earns?|brings? in"), "%revenue"),
    (rule(r"(?:total )?(?:outputs?|products?|quantity|production)|makes?|made|produces?|produced"), "%output"),
    (rule(r"adds?|contributes?"), "%marginal"),
)

_CELL_OF = rule(rf"(?:the )?{_COLUMN} (?:value |column |number |count )?{_OF}@(\S+)")
_ROWS_CELL = rule(
    rf"@(\S+) (?:(?:has |had |with |shows |the |a |an |total |workers ){{0,3}})?{_COLUMN}(?! column)(?! (?:=|:|"
    rf"is|are) @)"
)
_MONEY = (
    r"(?:earned|earns?|makes?|made|brings? in|brought in|revenue|income|earnings|product|money|takes in|took in|"
    r"turnover)"
)
_PRODUCT = rule(
    rf"{_ROW} (?:[a-z]+ ){{0,2}}?{_MONEY} (?:(?:is|of|=|:|a|total) )*({NUM})|{_MONEY} (?:of|for|"
    rf"from) {_ROW} (?:is|=|:|are) ({NUM})"
)
_ROW_PRODUCT = rule(rf"{_ROW}(?: (?::|is|=|has|makes|earns|gives|with|,|-))*(?= ({NUM}) [*] ({NUM})(?! [*+/-]))")
_ROW_RESULT = rule(rf"{_ROW} (?:(?::|is|=|has|gives|with|at|->|-|\() )*(~\S+)")
_COLUMN_SUM = rule(
    rf"{_COLUMN}((?: (?:column|total|sum|:|=|is|adds|add|up|to|values))*)(?= ({NUM} [+] [-0-9+=~ ,a-z]*))"
)
_TOTAL_WORDS = (
    r"(?:total|sum|altogether|together|combined|overall|in total|in all|adds? up to|sums? to|adding up to|"
    r"add to|sum up to|grand total)"
)
_COLUMN_TOTAL = rule(
    rf"(?:the )?(?:{_TOTAL_WORDS} (?:[a-z]+ ){{0,3}}?{_COLUMN}|"
    rf"{_COLUMN} (?:[a-z]+ ){{0,2}}?{_TOTAL_WORDS})((?: (?:[a-z]+|[:=])){{0,4}}?) ({NUM})"
)
_COLUMN_RESULT = rule(rf"{_COLUMN} (?:(?::|is|=|column|->) )*(~\S+)")
_ROW_TOTAL = rule(
    rf"{_ROW} (?:[a-z]+ ){{0,3}}?({NUM}) (?:[a-z]+ )?(?:in total|in all|altogether|together)|(?:total|sum) (?:of|"
    rf"for) {_ROW} ((?:is|=|:|not) )+({NUM})"
)
_EXTREME = r"\^(max|min)"
_BEST_CELL = rule(
    rf"{_EXTREME} (?:[a-z]+ ){{0,2}}?{_COLUMN} ((?:(?!than)(?:[a-z]+|[:=,(]) ){{0,5}}?)(?:@([a-z]+)|"
    rf"({NUM}))((?: (?:with|at|,|:|\(|for|by|of))+ (?:@([a-z]+)|({NUM})))?"
)
_CELL_BEST = rule(
    rf"{_ROW} ((?:[a-z]+ ){{0,5}}?)(?:{_EXTREME} (?:[a-z]+ ){{0,1}}?{_COLUMN}|{_COLUMN} (?:the )?{_EXTREME})"
)
_NAMED_BEST = rule(rf"@([a-z]+)/([a-z]+) ((?:[a-z]+ ){{0,4}}?){_EXTREME}")
_BEST_ROW = rule(
    rf"{_EXTREME} (best )?((?:[a-z:=]+ ){{0,6}}?)@([a-z]+)(?:(?: with| at| ,| :| \(| of| earning| making| which|"
    rf" has| a| product)+ ({NUM}))?"
)
_ROW_BEST = rule(rf"{_ROW} ((?:(?!than)[a-z]+ ){{0,4}}?){_EXTREME}( best)?((?: [a-z]+){{0,3}})")
_BEST_NUMBER = rule(
    rf"{_EXTREME} (best )?((?:[a-z:=]+ ){{0,4}}?)({NUM})(?:(?: for| by| from| of| ,| \(| with)+ @([a-z]+))?"
)
_ROW_COUNT = rule(
    rf"(?:there are|has|with|shows|contains) ({NUM}) (?:different )?(rows|columns|items|goods|fruits|people|"
    rf"names|workers)"
)


def name_cells(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Join "the price of apple" and "apple's price" into one name; give the firm's rows and columns their names."""
    if isinstance(facts.scene, Table):
        _drop_prepositions(sentence)
    elif isinstance(facts.scene, ProductionTable):
        _name_firm(sentence)
    else:
        return

    def join(row: str, column: str) -> Found | None:
        if row[:2] == "m:":
            sure = {"marginal": "marginal", "gain": "gain"}.get(column)
            return Found(canon=f"@{row[2:]}/{sure}") if sure else None
        name = f"{row.removeprefix('w:')}/{column}"
        return Found(canon=f"@{name}") if name in facts.values else None

    sentence.rewrite(_CELL_OF, lambda m: join(m[2], m[1]))
    if isinstance(facts.scene, Table):
        sentence.rewrite(_ROWS_CELL, lambda m: join(m[1], m[2]))


def _drop_prepositions(sentence: Sentence) -> None:
    """Take "in" and "out" for columns only where a value, a row or the word column goes with them."""
    tokens = sentence.tokens
    for at, token in enumerate(tokens):
        if token.canon in ("%in", "%out"):
            after = tokens[at + 1].canon if at + 1 < len(tokens) else ""
            before = tokens[at - 1].canon if at else ""
            headed = (
                re.fullmatch(rf"{NUM}|[:=,]|is|are|has|column|value|values|total|of|for|than|and|to|adds|sum", after)
                or not after
            )
            if not (headed or before[0:1] == "^" or before in ("total", "column")) or after == "the":
                token.canon = token.canon[1:]


def _name_firm(sentence: Sentence) -> None:
    for pattern, canon in _FIRM_WORDS:

        def act(match: re.Match, canon: str = canon) -> Found | None:
            if canon == "step":
                return Found(canon=f"@m:{match[2]}") if int(number(match[2]) - number(match[1])) == 1 else None
            if canon[-1] != ":":
                return Found(canon=canon)
            said = match[1]
            return Found(canon=canon + str(ORDINALS.get(said) or (said[3:] if said[:3] == "ord" else said)))

        sentence.rewrite(pattern, act)


# -- sums --------------------------------------------------------------------------------------------------------


def read_table_sums(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Check that "apple: 3 x 4" multiplies the row's numbers and "price: 3 + 2 + 5" adds the column's."""

    def row(match: re.Match) -> Found | None:
        if match[1] not in facts.rows:
            return None
        values = row_of(match[1], facts)
        told = [number(match[2]), number(match[3])]
        return Found(
            (same_numbers(told, values, [f"{match[1]} {column}" for column in facts.columns]),), f"@{match[1]} :"
        )

    def column(match: re.Match) -> Found | None:
        values, operands = column_of(match[1], facts), first_operands(match[3])
        if len(values) != len(operands):
            return None
        return Found((same_numbers(operands, values, [f"{row} {match[1]}" for row in facts.rows]),))

    if isinstance(facts.scene, Table):
        sentence.rewrite(_ROW_PRODUCT, row)
        sentence.rewrite(_COLUMN_SUM, column)


def row_of(row: str, facts: Facts) -> list[int]:
    """Return the numbers of a row."""
    return [facts.values[f"{row}/{column}"] for column in facts.columns]


def column_of(column: str, facts: Facts) -> list[int]:
    """Return the numbers of a column."""
    return [facts.values[f"{row}/{column}"] for row in facts.rows]


def product_of(row: str, facts: Facts) -> int:
    """Return the product of a row's numbers."""
    product = 1
    for value in row_of(row, facts):
        product *= value
    return product


def read_table_results(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge totals of columns and rows, products of rows, and which row is the best."""
    if not isinstance(facts.scene, Table):
        return
    sentence.rewrite(
        _BEST_CELL, lambda m: _judge_best_cell(m[1], m[2], m[3], m[4] or m[7] or "", m[5] or m[8] or "", facts)
    )
    sentence.rewrite(_NAMED_BEST, lambda m: _judge_best_cell(m[4], m[2], m[3], m[1], "", facts))
    sentence.rewrite(_CELL_BEST, lambda m: _judge_best_cell(m[3] or m[6], m[4] or m[5], m[2], m[1], "", facts))
    sentence.rewrite(_BEST_ROW, lambda m: _judge_best(m[1], m[2], m[3], m[4], m[5], facts))
    sentence.rewrite(_ROW_BEST, lambda m: _judge_best(m[3], m[4], m[2] + m[5], m[1], None, facts))
    sentence.rewrite(_BEST_NUMBER, lambda m: _judge_best(m[1], m[2], m[3], m[5] or "", m[4], facts))
    sentence.rewrite(_PRODUCT, lambda m: _judge_product(m[1] or m[3], m[2] or m[4], facts))
    sentence.rewrite(_ROW_RESULT, lambda m: _judge_row_result(m[1], m[2], facts))
    sentence.rewrite(_COLUMN_TOTAL, lambda m: _judge_column(m[1] or m[2], m[3], m[4], True, facts))
    sentence.rewrite(_COLUMN_RESULT, lambda m: _judge_column(m[1], "", m[2], False, facts))
    sentence.rewrite(_ROW_TOTAL, lambda m: _judge_row_total(m, facts))


def _judge_column(column: str, words: str, told: str, strict: bool, facts: Facts) -> Found:
    total = judge_total(column, told, facts)
    truth = total.truth != negated(words) if strict or total.truth else None
    return Found((Judged(truth, total.reason),))


def judge_total(column: str, told: str, facts: Facts) -> Judged:
    """Judge a number that is told for the total of a column."""
    exact = sum(column_of(column, facts))
    return Judged(number(told) == exact, f"the {column} column adds up to {exact}")


def _judge_row_total(match: re.Match, facts: Facts) -> Found | None:
    row, told = match[1] or match[3], match[2] or match[5]
    if row not in facts.rows:
        return None
    exact = sum(row_of(row, facts))
    truth = (number(told) == exact) != negated(match[0])
    if not truth and number(told) == product_of(row, facts):
        return Found((Judged(True, f"the product for {row} is {show(number(told))}"),))
    return Found((Judged(truth, f"the numbers of {row} add up to {exact}"),))


def _judge_row_result(row: str, told: str, facts: Facts) -> Found | None:
    """Judge a worked-out number said of a row: its product, sum or difference; else it stays open."""
    if row not in facts.rows:
        return None
    values = row_of(row, facts)
    fits = number(told) in (product_of(row, facts), sum(values), max(values) - min(values))
    reason = f"the picture shows {', '.join(f'{c} {v}' for c, v in zip(facts.columns, values, strict=True))} for {row}"
    return Found((Judged(True if fits else None, reason),), f"@{row}")


def _judge_product(row: str, told: str, facts: Facts) -> Found | None:
    if row not in facts.rows or facts.columns != ("price", "sold"):
        return None
    exact = product_of(row, facts)
    return Found((Judged(number(told) == exact, f"price times sold is {exact} for {row}"),), f"@{row}")


def _judge_best_cell(kind: str, column: str, words: str, row: str, told: str, facts: Facts) -> Found | None:
    """Judge "the highest price is 5 (apple)" and "apple has the highest price"."""
    if row and row not in facts.rows:
        return Found((Judged(False, f"the table has no {row}"),))
    values = column_of(column, facts)
    exact = max(values) if kind == "max" else min(values)
    holds = (not row or facts.values[f"{row}/{column}"] == exact) and (not told or number(told) == exact)
    rows = " and ".join(name for name in facts.rows if facts.values[f"{name}/{column}"] == exact)
    word = "highest" if kind == "max" else "lowest"
    return Found((Judged(holds != negated(words), f"the {word} {column} is {exact} for {rows}"),))


def _judge_best(kind: str, best: str | None, words: str, row: str, told: str | None, facts: Facts) -> Found | None:
    """Judge which row is best: by price times sold, or where no such product exists only if some column agrees."""
    if row and row not in facts.rows:
        return Found((Judged(False, f"the table has no {row}"),))
    pick = max if kind == "max" else min
    money = bool(best) or bool(re.search(_MONEY, words))
    products = {name: product_of(name, facts) for name in facts.rows}
    exact = pick(products.values())
    fits = (not row or products[row] == exact) and (not told or number(told) == exact)
    about = " and ".join(name for name, value in products.items() if value == exact)
    reason = (
        f"the best product is {exact} for {about}" if kind == "max" else f"the lowest product is {exact} for {about}"
    )
    if fits or (facts.columns == ("price", "sold") and (money or (row and told and number(told) == products[row]))):
        return Found((Judged(fits != negated(words), reason),))
    totals = [column_of(column, facts) for column in facts.columns] + [
        [sum(row_of(name, facts)) for name in facts.rows]
    ]
    for values in totals:
        seen = dict(zip(facts.rows, values, strict=True))
        if (not row or seen[row] == pick(values)) and (not told or number(told) == pick(values)):
            return Found((Judged(None if negated(words) else True, "it holds for one of the columns or for the rows"),))
    both = bool(told) and facts.columns == ("price", "sold")
    return Found((Judged(False if both and not negated(words) else None, reason),))


# -- cells -------------------------------------------------------------------------------------------------------


class _Walk:
    """The row and column that a number would belong to, while the tokens of a sentence pass by."""

    def __init__(self, facts: Facts, context: Context):
        self.facts, self.context = facts, context
        self.firm = isinstance(facts.scene, ProductionTable)
        self.row, self.column, self.header, self.place, self.first = "", "", "", 0, 0
        self.words: list[str] = []

    def pass_row(self, row: str, at: int) -> None:
        """Take a row name, or a whole cell name such as "apple/price"."""
        row, _, column = row.partition("/")
        self.row, self.place, self.words, self.first = row, 0, [], at
        self.column = column or (self.column if self.firm else self.header)

    def pass_column(self, column: str, at: int, followed: bool) -> None:
        """Take a column name; one that rows follow is a heading."""
        if not self.row or (followed and not self.firm):
            self.header, self.row = column, "" if not self.firm else self.row
            self.first = at
        self.column, self.words = column, []

    def names(self) -> list[str]:
        """Return the cells that the next number may stand for."""
        kind, _, worker = self.row.rpartition(":")
        column = self.column
        if not column and self.firm:
            column = self.context.column
        if not column and not self.firm and self.place < len(self.facts.columns):
            column = self.facts.columns[self.place]
        if kind == "m" and column in ("output", "revenue"):
            return [f"{worker}/{column}", f"{worker}/{'marginal' if column == 'output' else 'gain'}"]
        return [f"{worker}/{column}"]


def read_cells(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge every number of a table's sentence against the row and column that it is said of."""
    if not isinstance(facts.scene, (Table, ProductionTable)) or re.search(r" (?:[<>^]|\^\S+) ", sentence.line()):
        return
    walk, tokens = _Walk(facts, context), sentence.tokens
    for at, token in enumerate(tokens):
        canon = token.canon
        if canon[0] == "@" and (canon[1:].partition("/")[0] in facts.rows or canon[1:3] in ("w:", "m:")):
            walk.pass_row(canon[1:], at)
        elif canon[0] == "@":
            walk.row = "" if canon == "@price" or not walk.firm else walk.row
        elif canon[0] == "%":
            walk.pass_column(canon[1:], at, _row_follows(tokens, at))
        elif re.fullmatch(r"-?[0-9]+", canon):
            _judge_cell(sentence, walk, at)
        else:
            walk.words.append(canon)
    if walk.firm and walk.column:
        context.column = walk.column


def _row_follows(tokens: list[Token], at: int) -> bool:
    ahead = [token.canon for token in tokens[at + 1 : at + 4]]
    return bool(re.match(r"(?:column )?(?:: |= |of |for )?@", " ".join(ahead)))


def _judge_cell(sentence: Sentence, walk: _Walk, at: int) -> None:
    """Judge the number at that position as a cell of the table, and consume it."""
    tokens, facts = sentence.tokens, walk.facts
    ahead = " ".join(token.canon for token in tokens[at + 1 : at + 7])
    last = at
    if (
        after := re.match(r"(?:[a-z]+ )?(?:(?:with|for|at|by|from|using) (?:the )?)@([wm]:[0-9]+|[a-z]+)\b", ahead)
    ) and not walk.row:
        if after[1] in facts.rows or walk.firm:
            walk.row, last = after[1], at + len(after[0].split())
    elif not walk.firm and (own := re.match(r"%([a-z]+)", ahead)) and tokens[at - 1].canon[0] != "%":
        walk.column, last = own[1], at + 1
    if not walk.row or (walk.firm and not (walk.column or walk.context.column)):
        return
    if re.search(r"\b(?:giving|gives|earning|so|thus|product|from|to|range)\b", " ".join(walk.words[-4:])):
        return
    names = walk.names()
    values = [facts.values[name] for name in names if name in facts.values]
    told, denied = number(tokens[at].canon), negated(" ".join(walk.words))
    reason = " or ".join(f"{facts.show(name)} at {value}" for name, value in zip(names, values, strict=False))
    where = (
        f"the table shows {reason}"
        if values
        else f"the table has no such row or column as {names[0].replace('/', ' ')}"
    )
    walk.place += 1
    if not walk.firm and not walk.header:
        walk.column = ""
    first = min(walk.first, at)
    sentence.claims.append((tokens[first].start, tokens[last].end, Judged((told in values) != denied, where)))
    for token in tokens[: last + 1]:
        token.used = token.used or token.start >= tokens[first].start or token.canon == f"%{walk.header}"
    tokens[at].canon, walk.first = "#", at
    if last == at + 1 and not walk.firm:
        tokens[last].canon = "#"
    elif last > at:
        walk.row = ""
