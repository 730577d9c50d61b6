"""The nano world: what it draws is solvable, varied, kept apart by split, and the same for the same seed."""

import hashlib
import json
import re
from random import Random

import pytest

from insightv_core.errors import UserError
from insightv_core.nano.questions.captions import describe
from insightv_core.nano.questions.slips import misread
from insightv_core.nano.scenes import LEVELS, ShapeGrid, content_hash
from insightv_core.nano.verify import verify_step
from insightv_core.nano.world import (
    FAMILIES,
    PERCEPTION,
    REASONING,
    SPLITS,
    describe_example,
    draw_examples,
    make_example,
    phrase_question,
    reference_chains,
    split_of,
    write_chain,
)
from insightv_core.parse import parse_step, write_step
from insightv_core.records import CONTINUE, SUMMARY

EXAMPLES = [
    make_example(seed, family=family, level=level, split=split)
    for family in FAMILIES
    for level in LEVELS
    for seed, split in enumerate(SPLITS)
]


def test_there_are_enough_families_of_both_kinds():
    assert len(REASONING) >= 12 and len(PERCEPTION) >= 4
    assert {FAMILIES[name].answer_type for name in FAMILIES} == {"integer", "word", "yes/no", "option"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_phrasings_of_its_own_for_evaluation(family):
    chosen = FAMILIES[family]
    assert len(set(chosen.phrasings)) >= 5 and chosen.held_out
    assert not set(chosen.phrasings) & set(chosen.held_out)


def test_evaluation_words_questions_by_held_out_phrasings_only():
    family = FAMILIES["bar_total"]
    assert {phrase_question(family, {}, Random(k), "evaluation") for k in range(50)} == set(family.held_out)
    assert {phrase_question(family, {}, Random(k), "train") for k in range(99)} == set(family.phrasings)


@pytest.mark.parametrize("family", FAMILIES)
def test_written_chains_reach_the_answer_that_the_scene_gives(family):
    for seed in range(60):
        example = make_example(seed, family=family)
        steps, answer = write_chain(example, Random(seed))
        assert answer == example.answer
        assert [step.action for step in steps] == [CONTINUE] * (len(steps) - 1) + [SUMMARY]
        assert 2 <= len(steps) <= 16


def test_reference_chains_are_true_and_different():
    for example in EXAMPLES:
        chains = reference_chains(example, 3)
        worded = {tuple(step.content for step in chain) for chain in chains}
        assert len(set(chains)) == 3 and len(worded) >= 1 + (example.family in REASONING), example
        for chain in chains:
            verdicts = [
                verify_step(step, example.scene, answer=example.answer, statements=example.options) for step in chain
            ]
            assert "flawed" not in verdicts and "sound" in verdicts, (example, chain, verdicts)


def test_reasoning_chains_differ_in_length():
    lengths = {name: set() for name in REASONING}
    for name in REASONING:
        for seed in range(20):
            lengths[name] |= {len(chain) for chain in reference_chains(make_example(seed, family=name), 3)}
    assert all(len(found) >= 2 for found in lengths.values()), lengths


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chain_can_be_written_about_a_picture_misread_over_and_over(family):
    rng = Random(family)
    for seed in range(4):
        example = make_example(seed, level=1, family=family)
        seen = example.scene
        for _ in range(60):
            seen = misread(seen, rng)
            assert write_chain(example, rng, seen=seen)[1]


def test_a_misread_picture_differs_and_its_chain_says_so():
    caught = total = 0
    for example in EXAMPLES:
        rng = Random(example.seed)
        seen = misread(example.scene, rng)
        assert seen != example.scene and type(seen) is type(example.scene)
        steps, answer = write_chain(example, rng, seen=seen)
        if answer != example.answer:
            total += 1
            verdicts = [verify_step(s, example.scene, answer=example.answer, statements=example.options) for s in steps]
            caught += "flawed" in verdicts
    assert total > 50
    assert caught / total > 0.97


def test_slips_spoil_chains_without_breaking_their_form():
    wrong = 0
    for example in EXAMPLES:
        steps, answer = write_chain(example, Random(1), slip_rate=1.0)
        assert all(parse_step(write_step(step)) == step for step in steps)
        wrong += answer != example.answer
    assert wrong > len(EXAMPLES) / 3


def test_a_seed_gives_the_same_example_on_every_machine():
    drawn = json.dumps(
        [describe_example(make_example(seed, family=family)) for seed in (1, 2) for family in sorted(FAMILIES)]
    )
    assert (
        hashlib.sha256(drawn.encode()).hexdigest() == "73c59d11282ad8783e98d8d1a43d1330f0eb9b8ab98a55eec4bd23a2ca063849"
    )


def test_splits_share_no_scene():
    hashes = {split: set() for split in SPLITS}
    for split in SPLITS:
        for example in draw_examples(300, seed=5, split=split, families=list(FAMILIES)):
            assert split_of(example.scene) == split
            hashes[split].add(content_hash(example.scene))
    assert not hashes["train"] & hashes["evaluation"]
    assert not hashes["train"] & hashes["demo"]
    assert not hashes["demo"] & hashes["evaluation"]


def test_content_hash_follows_the_content():
    one, two = make_example(1, family="bar_total"), make_example(2, family="bar_total")
    assert content_hash(one.scene) != content_hash(two.scene)


def test_draws_are_balanced_and_never_repeat():
    drawn = draw_examples(250, seed=3, split="demo", families=list(FAMILIES))
    keys = {(content_hash(example.scene), example.family, repr(example.asked)) for example in drawn}
    assert len(keys) == 250
    counts = [sum(example.family == family for example in drawn) for family in FAMILIES]
    assert max(counts) - min(counts) <= 1


def test_answers_are_hard_to_guess():
    for family in REASONING:
        answers = [make_example(seed, family=family).answer for seed in range(200)]
        most = max(answers.count(answer) for answer in set(answers)) / 200
        assert most < (0.62 if FAMILIES[family].answer_type == "yes/no" else 0.5), (family, most)


def test_descriptions_hold_what_the_chains_need():
    for example in EXAMPLES:
        told = describe(example.scene, Random(0))
        seen = misread(example.scene, Random(example.seed))
        assert describe(seen, Random(0)) != told


def test_descriptions_go_through_a_picture_in_any_order_and_tell_the_same():
    for example in EXAMPLES:
        told = {describe(example.scene, Random(seed)) for seed in range(12)}
        uncounted = (re.sub(r"There (?:is|are)[^.]*\.", "", each) for each in told)  # only grids count first
        facts = {frozenset(re.findall(r"\d+|[A-Z]?[a-z]+", each)) for each in uncounted}
        manner = {"is", "with", "has", "in"}
        if isinstance(example.scene, ShapeGrid):  # row by row or cell by cell
            manner |= {"a", "an", "Row", "column", *"12345678"}
        assert len(told) > 1 and len({each - manner for each in facts}) == 1, told


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"family": "bar_totals"}, ["bar_totals", "bar_total"]),
        ({"split": "test"}, ["test", "evaluation"]),
        ({"level": 9}, ["9", "1, 2, 3"]),
    ],
)
def test_unknown_names_are_named_with_what_exists(wrong, words):
    with pytest.raises(UserError) as error:
        make_example(1, **wrong)
    assert all(word in str(error.value) for word in words)
