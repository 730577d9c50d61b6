"""The systems of stage 5: what they ask, what they share, which answer they settle on, and whether a path is right."""

from pathlib import Path

import pytest

from insightv_core import prompts
from insightv_core.agents import Agent
from insightv_core.evaluate import (
    GREEDY_CHAINS,
    Item,
    best_of,
    chain_alone,
    count_paths,
    estimate,
    exchange,
    held_out_items,
    judged_chains,
    majority,
    one_model,
    report,
    split_accuracy,
    two_agents,
    vote,
    write_latex,
    write_markdown,
)
from insightv_core.evaluate.paths import judge_path
from insightv_core.evaluate.plan import list_policies
from insightv_core.evaluate.tables import escape_latex
from insightv_core.nano.world import make_example, reference_chains
from insightv_core.parse import SummaryReply, write_answer, write_step, write_summary
from insightv_core.records import Answered, ModelVersion, Question, Run, Sampling, Step
from insightv_core.store import open_store
from insightv_core.store.evaluations import (
    add_answers,
    family_table,
    list_evaluations,
    load_outcomes,
    load_reports,
    path_tables,
)
from insightv_core.store.training import add_model, add_round
from insightv_core.vlm.scripted import ScriptedVLM

ITEMS = [
    Item(Question(f"q{k}", f"Number {k}?", str(k), "", "t", "integer", f"family {k % 2}", 1 + k // 2), Path(f"{k}.png"))
    for k in range(4)
]
SAMPLED = Sampling((0.7,), seed=3)


def chain(answer, word="It is"):
    return [write_step(Step("Think", f"{word} {answer}.", "summary")), write_answer(answer)]


def judge(verdict_of):
    """A summary agent that answers with the last word of the chain it is shown."""

    def script(talk, sample):
        said = talk.messages[-1]["content"][-1]["text"].rpartition(" ")[2].rstrip(".")
        return [write_summary(SummaryReply(verdict_of(talk, said), said))]

    return Agent(ScriptedVLM(script))


def by_item(answered):
    return {each.item: each for each in answered}


def test_stored_chains_give_the_same_answers_as_both_agents_at_once_and_cost_one_call_less():
    reasoner = Agent(ScriptedVLM(lambda talk, sample: chain(talk.key[1:])))
    summary = judge(lambda talk, said: "sound")
    copied = by_item(chain_alone(reasoner, GREEDY_CHAINS)(ITEMS))
    written = reasoner.vlm.replies_given
    shared = list(judged_chains(copied, summary)(ITEMS))
    assert reasoner.vlm.replies_given == written
    at_once = by_item(two_agents(reasoner, summary, GREEDY_CHAINS)(ITEMS))
    for each in shared:
        other = at_once[each.item]
        assert (each.answer, each.outcome, each.tokens) == (other.answer, "correct", other.tokens)
        assert each.details["steps"] == other.details["steps"] and each.tokens > copied[each.item].tokens


def test_an_exchanged_chain_is_that_of_another_question_and_leads_the_agent_astray():
    copied = by_item(chain_alone(Agent(ScriptedVLM(lambda talk, sample: chain(talk.key[1:]))), GREEDY_CHAINS)(ITEMS))
    swapped = exchange(copied, ITEMS)
    assert {own: each.item for own, each in swapped.items()} == {"q0": "q3", "q1": "q0", "q2": "q1", "q3": "q2"}
    answered = list(judged_chains(swapped, judge(lambda talk, said: "sound"))(ITEMS))
    assert [each.answer for each in answered] == ["3", "0", "1", "2"] and {each.outcome for each in answered} == {
        "wrong"
    }
    assert [each.details["chain_of"] for each in answered] == ["q3", "q0", "q1", "q2"]
    del copied["q3"]  # whose chain is not there is left out, as is who would get it
    assert set(exchange(copied, ITEMS)) == {"q1", "q2", "q3"}
    assert [each.item for each in judged_chains(copied, judge(lambda *said: "sound"))(ITEMS)] == ["q0", "q1", "q2"]


def test_one_model_is_read_from_the_last_line_of_its_one_reply():
    replies = {
        "q0": "\n".join(chain("0")),
        "q1": chain("1")[0],
        "q2": "no chain\n" + write_answer("2"),
        "q3": RuntimeError("x"),
    }
    vlm = ScriptedVLM(lambda talk, sample: [replies[talk.key]])
    found = by_item(one_model(Agent(vlm))(ITEMS))
    assert [found[f"q{k}"].outcome for k in range(4)] == ["correct", "unparsed", "correct", "unparsed"]
    assert found["q0"].details["steps"] == [["Think", "It is 0."]] and found["q2"].details["steps"] == []
    assert all(prompts.REASON in talk.messages[-1]["content"][-1]["text"] for talk in vlm.talks)


@pytest.mark.parametrize("way", ["chains", "whole", "aloud"])
def test_the_majority_of_samples_answers_and_its_cost_is_that_of_all(way):
    def script(talk, sample):
        said = "9" if sample == 0 else talk.key[1:]
        return {"chains": chain(said), "whole": ["\n".join(chain(said))], "aloud": [f"Hm.\nAnswer: {said}"]}[way]

    vlm = ScriptedVLM(script)
    found = list(majority(Agent(vlm), 3, SAMPLED, way)(ITEMS))
    assert [each.outcome for each in found] == ["correct"] * 4 and vlm.talks[0].samples == (0, 1, 2)
    assert [each["answer"] for each in found[1].details["samples"]] == ["9", "1", "1"]
    assert found[0].tokens == sum(each["tokens"] for each in found[0].details["samples"]) > 0
    failing = Agent(ScriptedVLM(lambda talk, sample: [RuntimeError("gone")]))
    assert {each.outcome for each in majority(failing, 2, SAMPLED, way)(ITEMS)} == {"unparsed"}


def test_votes_go_by_what_answers_mean_and_the_first_of_equals_wins():
    assert vote(["7", "8", "8."]) in ("8", "8.") and vote(["7", "8"]) == "7" and vote([None, "", None]) is None
    assert vote([None, "Red", "red", "blue", "blue", "RED"]) == "Red"


def test_best_of_n_takes_the_first_chain_that_the_summary_agent_calls_sound():
    def script(talk, sample):
        return chain(talk.key[1:] if sample == 1 else "9", f"Sample {sample}:")

    sampled = by_item(majority(Agent(ScriptedVLM(script)), 3, SAMPLED)(ITEMS))
    assert [sampled["q1"].answer, sampled["q1"].outcome] == ["9", "wrong"]
    picky = judge(lambda talk, said: "flawed" if said == "9" else "sound")
    found = list(best_of(sampled, picky, 3)(ITEMS))
    assert [each.outcome for each in found] == ["correct"] * 4 and {each.details["chosen"] for each in found} == {1}
    assert found[0].details["verdicts"] == ["flawed", "sound", "flawed"] and len(picky.vlm.talks) == 12
    assert found[0].tokens > sampled["q0"].tokens
    never = judge(lambda talk, said: "flawed")
    assert {each.answer for each in best_of(sampled, never, 2)(ITEMS)} == {"9"} and len(never.vlm.talks) == 8
    gone = Agent(ScriptedVLM(lambda talk, sample: [RuntimeError("gone")]))
    assert {(each.answer, each.outcome) for each in best_of(sampled, gone, 2)(ITEMS)} == {(None, "unparsed")}


# -- is a path right ---------------------------------------------------------------------------------------------------


def test_a_path_is_judged_by_the_exact_verifier_where_the_scene_is_known():
    for item in held_out_items(12, seed=4):
        told = item.question.metadata
        example = make_example(
            told["seed"], split=told["split"], family=item.question.family, level=item.question.level
        )  # fmt: skip
        (right,) = reference_chains(example, 1)
        assert judge_path(item.question, right, None, "wrong") == {"path_right": True, "path_by": "exact verifier"}
        assert judge_path(item.question, right, "it was cut off", "correct")["path_right"] is False
        assert judge_path(item.question, (), None, "correct")["path_right"] is False
        assert judge_path(item.question, (Step("Hm", "Let us see."),), None, "correct")["path_right"] is False
        elsewhere = (Step("Read", "The zebra is at 99."), Step("Add", "2 + 2 = 4."))
        assert judge_path(item.question, elsewhere, None, "correct")["path_right"] is False
        slipped = (*right, Step("Add", "2 + 2 = 5."))
        assert judge_path(item.question, slipped, None, "correct")["path_right"] is False


def test_elsewhere_the_answer_of_the_path_decides_and_the_report_says_which():
    question = ITEMS[0].question
    right = {"path_right": True, "path_by": "the path's own answer"}
    assert judge_path(question, (Step("a", "b"),), None, "correct") == right
    assert judge_path(question, (Step("a", "b"),), None, "wrong")["path_right"] is False
    assert judge_path(question, (Step("a", "b"),), "cut off", "correct")["path_right"] is False
    assert judge_path(question, (), None, None) == {}
    reasoner = Agent(ScriptedVLM(lambda talk, sample: chain("0")))
    table = count_paths(two_agents(reasoner, judge(lambda *said: "sound"), GREEDY_CHAINS)(ITEMS), "two agents")
    assert (table.both, table.path_only, table.answer_only, table.neither) == (1, 0, 0, 3)
    assert table.by == "the path's own answer" and table.right_after_right == 1.0 and table.right_after_wrong == 0.0
    assert count_paths([Answered("a", "", "correct", "", 1, 1.0, {})], "direct") is None


# -- what the store gives back -----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as opened:
        opened.start_run(Run("e" * 20, "evaluate", ModelVersion("m", "f" * 20), "1", {"n": 4}, "0"))
        reasoner = Agent(ScriptedVLM(lambda talk, sample: chain("0")))
        add_answers(opened, "e" * 20, "t", "zoo", chain_alone(reasoner, GREEDY_CHAINS)(ITEMS))
        both = two_agents(Agent(ScriptedVLM(lambda talk, sample: chain(talk.key[1:]))), judge(lambda *said: "sound"))
        for seed in (0, 1):
            add_answers(opened, "e" * 20, "t", "all", both(ITEMS), seed=seed)
        yield opened


def test_reports_are_worked_out_from_stored_answers_in_the_order_of_the_systems(store):
    (listed,) = list_evaluations(store)
    told = {"run": "e" * 20, "benchmark": "t", "systems": ["zoo", "all"], "answers": 12, "questions": 4, "seeds": 2}
    assert listed.items() >= {**told, "model": "m", "stage": "evaluate", "settings": {"n": 4}}.items()
    first, second = load_reports(store)
    assert first.system == "zoo" and first.accuracy.value == 0.25 and first.difference is None
    assert second.accuracy.value == 1.0 and second.difference.value == 0.75 and second.seeds == 2
    assert second.by_seed == (1.0, 1.0) and second.accuracy.n == 4
    assert [each.system for each in load_reports(store, "eee", "t", against="all", systems=["zoo"])] == ["zoo"]
    assert load_reports(store, against="all")[0].difference.value == -0.75
    add_answers(store, "e" * 20, "t", "zoo", [Answered("q9", "", "correct", "", 1, 0.0, {})])
    assert load_reports(store)[0].accuracy.value == 0.4  # what was remembered is worked out anew


def test_families_levels_and_paths_of_a_stored_evaluation(store):
    families = {(row["system"], row["group"]): row for row in family_table(store)}
    assert families["zoo", "family 0"]["accuracy"] == 0.5 and families["zoo", "family 1"]["accuracy"] == 0.0
    assert families["all", "family 1"]["n"] == 2
    assert {row["group"] for row in family_table(store, by="level")} == {"1", "2"}
    assert split_accuracy(load_outcomes(store, "e" * 20, "t")) == list(families.values())
    assert [each.system for each in path_tables(store)] == ["zoo", "all"]


def test_an_evaluation_that_is_not_there_is_named(store):
    from insightv_core.errors import UserError

    with pytest.raises(UserError, match="no evaluation of run abc on t in .*insightv evaluate"):
        load_reports(store, "abc", "t")
    with pytest.raises(UserError, match="no system 'none'.*zoo, all"):
        load_reports(store, against="none")


def test_a_policy_is_followed_back_through_its_rounds(store):
    for name in ("start", "one", "two"):
        add_model(store, ModelVersion(name, name), kind="adapter", base="f" * 20, folder=f"at/{name}", run="e" * 20)
    for number, (before, after) in enumerate((("start", "one"), ("one", "two"))):
        run = Run(f"{number}" * 20, "dpo", None, "1", {}, "0")
        store.start_run(run)
        add_round(store, run.id, before=before, after=after, curation="e" * 20)
    assert list_policies(store, "two") == [
        ("two agents, before DPO", "at/start"), ("two agents, DPO round 1", "at/one"),
        ("two agents, DPO round 2", "at/two"),
    ]  # fmt: skip
    assert list_policies(store, "one")[-1] == ("two agents, DPO round 1", "at/one")
    assert list_policies(store, "start") == []


# -- figures of answers ------------------------------------------------------------------------------------------------


def test_an_interval_is_never_empty_where_all_answers_are_the_same():
    found = estimate([1.0] * 20)
    assert (found.value, found.low, found.high) == (1.0, 0.85, 1.0)
    assert estimate([0.0] * 20).high == 0.15 and estimate([0.0] * 20).low == 0.0
    same = [Answered(str(k), "", "wrong", "", 1, 0.0, {}) for k in range(20)]
    difference = report(same, "a", "t", against=same).difference
    assert (difference.low, difference.high) == (-0.15, 0.15)


def test_a_small_chance_is_never_shown_as_none():
    right, wrong = (
        [Answered(str(k), "", outcome, "", 1, 0.0, {}) for k in range(40)] for outcome in ("correct", "wrong")
    )
    found = [report(right, "a", "t", against=wrong)]
    assert "| < 0.001 |" in write_markdown(found) and "$<$ 0.001" in write_latex(found)
    assert " & -- & -- & " in write_latex([report(right, "a", "t")])


def test_tables_keep_signs_that_latex_reads_otherwise():
    assert escape_latex(r"50% of A_1 & \b{}") == r"50\% of A\_1 \& \textbackslash{}b\{\}"
    reports = [report([Answered("a", "", "correct", "", 3, 0.5, {})], "50% of it", "t")]
    assert r"50\% of it & 1.000" in write_latex(reports) and "| 50% of it | t | 1.000 |" in write_markdown(reports)
