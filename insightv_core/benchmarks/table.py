"""The public benchmarks as data: where each lies on the hub, what its columns mean, how it asks and how it scores."""

from dataclasses import dataclass

from insightv_core.benchmarks.metrics import (
    Metric,
    anls,
    containment,
    mathvista_accuracy,
    mmmu_accuracy,
    option_letter,
    relaxed_accuracy,
    vqa_accuracy,
    yes_or_no,
)
from insightv_core.benchmarks.totals import Total, count_of_1000, mean, mme_score, whole_circles

LETTER = "Answer with the letter of the right option alone."
PHRASE = "Answer with a single word or phrase."
VALUE = "Answer with a single word or number."
POLARITY = "Answer with yes or no alone."
IN_PICTURE = "Answer the question in the picture."

# How a dataset writes the right answer: an option's letter, its number from 0, a text, several, or yes and no.
AS_LETTER, AS_PLACE, AS_TEXT, AS_TEXTS, AS_POLARITY = "letter", "place", "text", "texts", "polarity"


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark.

    `dataset`, `config` and `split` are its place on the hub. The other words name columns: `question` (none where the
    picture holds it), `before` for text that goes before it, `image`, `answer` (`written` in one of five ways),
    `options` (a list, or a column for each), `category`, and `kept` for what the metric and the total need as metadata.
    `suffix` ends a question; `open_suffix` one without options, of a benchmark that has both. `metric` scores an answer
    from 0 to 1; `total` makes the published figures of all scores, on the scale that `scale` tells.
    """

    title: str
    dataset: str
    split: str
    metric: Metric
    suffix: str
    scale: str
    config: str = ""
    question: str = "question"
    before: str = ""
    image: str = "image"
    answer: str = "answer"
    written: str = AS_LETTER
    options: str | tuple[str, ...] = ""
    open_suffix: str = ""
    category: str = ""
    kept: tuple[str, ...] = ()
    total: Total = mean


IMAGES = ("image_1", "image_2", "image_3", "image_4", "image_5", "image_6", "image_7")

BENCHMARKS: dict[str, Benchmark] = {
    "chartqa": Benchmark(
        "ChartQA", "lmms-lab-encoder/ChartQA", "test", relaxed_accuracy, VALUE,
        "mean relaxed accuracy: numbers within 5%, words the same", written=AS_TEXT, category="type",
    ),
    "mathvista": Benchmark(
        "MathVista", "AI4Math/MathVista", "testmini", mathvista_accuracy, LETTER, "accuracy on testmini",
        image="decoded_image", written=AS_TEXT, options="choices", open_suffix=VALUE,
        kept=("precision", "unit", "answer_type"),
    ),
    "mmmu": Benchmark(
        "MMMU", "lmms-lab-encoder/MMMU", "validation", mmmu_accuracy, LETTER, "accuracy on the validation split",
        options="options", open_suffix=PHRASE, category="subfield",
    ),
    "mmmu-pro": Benchmark(
        "MMMU-Pro, standard", "MMMU/MMMU_Pro", "test", option_letter, LETTER, "accuracy with ten options",
        config="standard (10 options)", options="options", category="subject",
    ),
    "mmmu-pro-vision": Benchmark(
        "MMMU-Pro, vision", "MMMU/MMMU_Pro", "test", option_letter, LETTER,
        "accuracy where question and options stand in the picture", config="vision", question="", category="subject",
    ),
    "mmstar": Benchmark(
        "MMStar", "Lin-Chen/MMStar", "val", option_letter, LETTER, "accuracy", category="category",
    ),
    "mmbench": Benchmark(
        "MMBench", "lmms-lab-encoder/MMBench", "dev", option_letter, LETTER,
        "CircularEval: the share of questions that are right in every rotation of their options", config="en",
        before="hint", options=("A", "B", "C", "D"), category="category", kept=("index",), total=whole_circles,
    ),
    "mme": Benchmark(
        "MME", "lmms-lab-encoder/MME", "test", yes_or_no, POLARITY,
        "accuracy and accuracy+ in percent, added over the subtasks: at most 2000 for perception, 800 for cognition",
        written=AS_POLARITY, category="category", kept=("question_id",), total=mme_score,
    ),
    "ai2d": Benchmark(
        "AI2D", "lmms-lab-encoder/ai2d", "test", option_letter, LETTER, "accuracy", written=AS_PLACE, options="options",
    ),
    "textvqa": Benchmark(
        "TextVQA", "lmms-lab-encoder/textvqa", "validation", vqa_accuracy, PHRASE,
        "mean VQA accuracy over ten people's answers", answer="answers", written=AS_TEXTS,
    ),
    "docvqa": Benchmark(
        "DocVQA", "lmms-lab-encoder/DocVQA", "validation", anls, PHRASE, "average normalised Levenshtein similarity",
        config="DocVQA", answer="answers", written=AS_TEXTS,
    ),
    "ocrbench": Benchmark(
        "OCRBench", "echo840/OCRBench", "test", containment, "", "right answers, of 1000 questions",
        written=AS_TEXTS, category="question_type", kept=("dataset",), total=count_of_1000,
    ),
}  # fmt: skip
