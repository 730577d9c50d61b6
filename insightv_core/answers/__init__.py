"""The rule-based answer filter: is an answer the correct one, as far as rules can tell?

Insight-V drops paths whose answer is wrong (arXiv 2411.14432, section 3.2). What the rules cannot settle is "open"
and left to a language model; what cannot be read is "unparsed" and never counted as wrong.
"""

from insightv_core.answers.compare import compare_answers
from insightv_core.answers.verdict import CORRECT, OPEN, UNPARSED, WRONG, AnswerVerdict

__all__ = ["CORRECT", "OPEN", "UNPARSED", "WRONG", "AnswerVerdict", "compare_answers"]
