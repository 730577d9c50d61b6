"""When what was summed while sampling is the log-probability of the tokens that are trained on, and when it is not."""

from dataclasses import replace

import pytest
from test_dpo_loss import SETTINGS, make_ours, tiny

from insightv_core.parse import write_step
from insightv_core.records import COMPLETE, Path, Step, StepRecord
from insightv_core.train.dpo import REFERENCE_COLUMNS, PreferenceTrainer
from insightv_core.train.origin import count_foreign, kept_logprob, kept_logprobs

STEPS = (Step("Look", "red is 3."), Step("Add", "3 + 4 = 7.", "summary"))
TEXT = "\n".join(map(write_step, STEPS))
FIRST, SECOND = (StepRecord(write_step(step), step, True, 0, None, 0.0) for step in STEPS)
CHAIN = Path(
    "p", "q", "r", 0, COMPLETE, (replace(FIRST, tokens=20, logprob=-7.5), SECOND), "7", None, "", 24, -7.5, 0.1
)


def test_a_chain_of_one_reply_keeps_its_log_probability():
    assert kept_logprob(CHAIN, TEXT, 20) == -7.5


@pytest.mark.parametrize(
    ("turns", "text", "tokens"),
    [
        (CHAIN.turns, TEXT, 21),  # a template that ends with a line break, or another spelling
        (CHAIN.turns, TEXT.replace("red", "blue"), 20),  # a reviewer's words
        ((replace(FIRST, raw="no", step=None, accepted=False, tokens=2, logprob=-1.0), *CHAIN.turns), TEXT, 20),
        ((CHAIN.turns[0], replace(SECOND, tokens=9, logprob=-2.0)), TEXT, 20),  # a turn for each step
        ((replace(CHAIN.turns[0], logprob=None), SECOND), TEXT, 20),  # a server that does not tell
        ((replace(CHAIN.turns[0], raw=CHAIN.turns[0].raw.replace(": ", ":")), SECOND), TEXT, 20),
        ((), TEXT, 20),
    ],
)
def test_any_other_reply_does_not(turns, text, tokens):
    assert kept_logprob(replace(CHAIN, turns=turns), text, tokens) is None


def test_only_pairs_of_the_reference_are_known():
    said = [{"role": "assistant", "content": TEXT}]
    rows = {"path": ["a", "a"], "chosen": [said, said], "rejected_path": ["b", "c"], "rejected": [said, said]}
    paths = {name: CHAIN for name in "abc"}
    written_by = {"a": "mine", "b": "mine", "c": "other"}
    assert kept_logprobs(rows, paths, written_by, "mine", ([20, 20], [20, 20])) == [(-7.5, -7.5), None]
    assert count_foreign(rows, written_by, "mine") == 1 and count_foreign(rows, written_by, "other") == 2


def test_known_reference_values_are_used_where_a_batch_of_them_agrees(tmp_path, monkeypatch):
    llava = tiny("llava")
    fresh = make_ours(llava, tmp_path)
    true = list(zip(*(fresh.train_dataset[name] for name in REFERENCE_COLUMNS), strict=True))
    settings = replace(SETTINGS, batch_size=1)
    seen, compute = [], PreferenceTrainer.compute_ref_log_probs

    def watch(self, model, inputs):
        seen.append(len(inputs["input_ids"]) // 2)
        return compute(self, model, inputs)

    monkeypatch.setattr(PreferenceTrainer, "compute_ref_log_probs", watch)
    near = [(chosen * (1 + 1e-5), rejected) for chosen, rejected in true]
    trainer = make_ours(llava, tmp_path, settings=settings, known=[None, near[1], near[2]])
    found = list(zip(*(trainer.train_dataset[name] for name in REFERENCE_COLUMNS), strict=True))
    assert sum(seen) == 2 and found[2] == near[2]  # one that is not known, and one to see that the others agree
    assert [value for pair in found for value in pair] == pytest.approx([v for pair in true for v in pair], rel=1e-4)
    far = [(chosen - 5, rejected) for chosen, rejected in true]
    with pytest.warns(UserWarning, match="differ from a fresh pass"):
        trainer = make_ours(llava, tmp_path, settings=settings, known=far)
    assert list(trainer.train_dataset[REFERENCE_COLUMNS[0]]) == pytest.approx([pair[0] for pair in true], rel=1e-5)
