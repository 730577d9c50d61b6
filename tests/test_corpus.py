"""What nano reads: conversations that are true, of the right kinds, and within what each model may see."""

import json
import re
from collections import Counter
from random import Random

import pytest

from insightv_core import prompts
from insightv_core.nano.training import corpus
from insightv_core.nano.training.corpus import MIXES, TEACHER_SLIPS, plan_lesson, score_path, training_scene
from insightv_core.nano.world import FAMILIES, make_example, split_of
from insightv_core.parse import Unparsed, parse_answer, parse_step, parse_summary, parse_verdicts


def talks(model, count=400, progress=0.9):
    """Yield conversations of many training scenes."""
    for index in range(count):
        yield from training_scene(model, 0, index, progress).conversations


def text_of(message):
    return "".join(part.get("text", "") for part in message["content"])


def sees_picture(talk):
    return any(part["type"] == "image" for message in talk.messages for part in message["content"])


def test_scenes_follow_from_their_arguments_and_come_from_the_training_split():
    for model in ("tower", "base", "teacher"):
        for index in range(50):
            scene = training_scene(model, 3, index, 0.5)
            assert scene == training_scene(model, 3, index, 0.5)
            assert split_of(scene.scene) == "train"
    assert training_scene("base", 3, 1, 0.5) != training_scene("base", 4, 1, 0.5)


@pytest.mark.parametrize("model", ["base", "teacher"])
def test_all_kinds_of_the_mix_occur_and_text_kinds_have_no_picture(model):
    seen = list(talks(model))
    assert {talk.kind for talk in seen} == set(MIXES[model])
    for talk in seen:
        without = talk.kind.startswith("text") or talk.kind in ("arithmetic", "lookup", "check")
        assert sees_picture(talk) != without


def test_base_never_sees_a_chain_about_a_picture():
    for talk in talks("base"):
        steps = [
            m for m in talk.messages if m["role"] == "assistant" and not isinstance(parse_step(text_of(m)), Unparsed)
        ]
        asked = any(
            prompt in text_of(m) for m in talk.messages for prompt in (prompts.GENERATE, prompts.THINK, prompts.REASON)
        )
        assert not (sees_picture(talk) and (steps or asked))


def test_the_first_quarter_of_base_is_looking_only():
    assert set(plan_lesson("base", 0.1)[1]) == {"caption", "perception"}
    assert plan_lesson("base", 0.3)[1] == MIXES["base"]
    assert plan_lesson("teacher", 0.1)[1] == MIXES["teacher"]
    assert plan_lesson("base", 0.0)[0] == (1,) and 3 in plan_lesson("base", 0.5)[0]


def test_replies_can_be_read_by_the_parsers():
    counts = Counter()
    for talk in [*talks("teacher"), *talks("base")]:
        replies = [text_of(m) for m in talk.messages if m["role"] == "assistant" and m.get("learn", True)]
        if talk.kind in ("chain", "repair", "text chain"):
            assert not any(isinstance(parse_step(reply), Unparsed) for reply in replies[:-1])
            assert not isinstance(parse_answer(replies[-1]), Unparsed)
        elif talk.kind in ("judge", "text judge"):
            paths = text_of(talk.messages[-2]).split("Path ")[1:]
            counted = [path.count("\nStep ") for path in paths]
            assert not isinstance(parse_verdicts(replies[0], counted), Unparsed)
        elif talk.kind == "text summarize":
            assert not isinstance(parse_summary(replies[0]), Unparsed)
        else:
            continue
        counts[talk.kind] += 1
    assert min(counts[kind] for kind in ("chain", "repair", "judge", "text judge", "text chain", "text summarize")) >= 5


def test_broken_replies_are_read_but_not_learned():
    repairs = [talk for talk in talks("teacher", 800) if talk.kind == "repair"]
    assert repairs
    for talk in repairs:
        (broken,) = [m for m in talk.messages if not m.get("learn", True)]
        after = talk.messages[talk.messages.index(broken) + 1 :]
        assert text_of(after[0]) == prompts.REPAIR
        assert not isinstance(parse_step(text_of(after[1])), Unparsed)


def test_options_follow_the_question_in_any_words(monkeypatch):
    monkeypatch.setattr(corpus, "MORE_WORDINGS_SHARE", 1.0)
    example = make_example(3, family="production_false")
    asked = corpus.ask_about(example.scene, "production_false", Random(0))
    first, *options = asked.question.split("\n")
    assert first in corpus.MORE_WORDINGS["production_false"]
    assert options == [f"{letter}. {text}" for letter, text in zip("ABCD", asked.options, strict=True)]


def test_teacher_chains_are_wrong_about_as_often_as_they_slip(monkeypatch):
    monkeypatch.setattr(corpus, "LOOKS_SHARE", 0.0)
    rng, wrong = Random(0), 0
    for seed in range(300):
        example = make_example(seed, family="polygon_perimeter")
        talk = corpus.converse("chain", example, rng)
        wrong += parse_answer(text_of(talk.messages[-1])) != str(sum(example.scene.sides))
    assert 0.3 * TEACHER_SLIPS < wrong / 300 < 1.3 * TEACHER_SLIPS


@pytest.mark.parametrize("kind", ["chain", "judge"])
def test_the_teacher_learns_chains_about_one_look_too(kind):
    rng, looks = Random(0), 0
    for seed in range(200):
        talk = corpus.converse(kind, make_example(seed, family="line_rises"), rng)
        looks += text_of(talk.messages[1]).startswith(
            (*asked_in_one_look("line_value"), *asked_in_one_look("title_word"))
        )
    assert 0.5 * corpus.LOOKS_SHARE < looks / 200 < 1.5 * corpus.LOOKS_SHARE


def asked_in_one_look(family):
    """Return how questions of a family of perception begin."""
    wordings = (*FAMILIES[family].phrasings, *corpus.MORE_WORDINGS[family])
    return tuple(wording.split("{")[0] for wording in wordings)


def test_a_picture_is_asked_several_questions_in_a_row():
    rng = Random(0)
    for kind in ("perception", "direct"):
        talked = [corpus.converse(kind, make_example(seed, family="bar_total"), rng) for seed in range(60)]
        asked = [[text_of(m) for m in talk.messages if m["role"] == "user"] for talk in talked]
        assert max(map(len, asked)) > 2 and all(len(set(each)) == len(each) for each in asked)


def test_sums_and_comparisons_are_right():
    seen = Counter()
    for seed in range(600):
        question, answer = corpus.draw_sum(Random(seed))
        one, two, *_ = map(int, re.findall(r"\d+", question))
        signs = (" x ", " + ", " - ", "more", " against ", "largest", "smallest")
        sign = next(word for word in signs if word in question)
        numbers = list(map(int, re.findall(r"\d+", question)))
        exact = {
            " x ": str(one * two), " + ": str(one + two), " - ": str(one - two), "more": "yes" if one > two else "no",
            " against ": f"{one} against {two} is {'more' if one > two else 'less' if one < two else 'the same'}",
            "largest": str(max(numbers)), "smallest": str(min(numbers)),
        }  # fmt: skip
        assert answer == exact[sign], question
        seen[sign] += 1
        seen[answer.partition(" is ")[2]] += 1
    assert min(seen[sign] for sign in signs) > 20 and min(seen[word] for word in ("more", "less", "the same")) > 20


def test_paths_to_judge_are_flawed_as_often_as_sound():
    rng, verdicts, right = Random(0), Counter(), Counter()
    for seed in range(150):
        for path in corpus.write_paths(make_example(seed), rng, 4):
            verdicts.update(path.verdicts)
            right["flawed" not in path.verdicts] += 1
    assert 0.25 < verdicts["flawed"] / verdicts.total() < 0.5 and 0.35 < right[True] / right.total() < 0.65


@pytest.mark.parametrize("kind", ["judge", "text judge"])
def test_a_judge_learns_to_say_first_what_a_path_answers(kind):
    rng, said = Random(0), Counter()
    for seed in range(60):
        talk = corpus.converse(kind, make_example(seed), rng)
        assert talk.kind == kind and (prompts.DESCRIBED in text_of(talk.messages[-2])) == (kind == "text judge")
        reply, shown = json.loads(text_of(talk.messages[-1])), text_of(talk.messages[-2])
        truth = shown.split(f"{prompts.TRUTH} ")[1].split("\n")[0]
        answers = re.findall(rf"^{prompts.GIVEN} (.*)$", shown, flags=re.M)
        assert shown.count(f"{prompts.TRUTH} ") == (1 if truth == prompts.UNKNOWN else 1 + len(answers))
        assert [list(path)[:3] for path in reply["paths"]] == [["id", "answer", "right"]] * len(answers)
        assert [path["answer"] for path in reply["paths"]] == answers
        for path in reply["paths"] if truth != prompts.UNKNOWN else ():
            assert path["right"] == (path["answer"] == truth)
            said[path["right"]] += 1
    assert said[True] > 20 and said[False] > 20


def test_scores_rank_sound_over_flawed_over_wrong():
    sound, flawed = score_path(("sound",) * 3, True), score_path(("sound", "flawed", "sound"), True)
    wrong, worse = score_path(("sound", "flawed"), False), score_path(("flawed", "flawed"), False)
    assert 100 >= score_path(("sound",) * 9, True) > sound > flawed > wrong > worse >= 1


def test_blank_pictures_come_with_direct_questions_only():
    blank = [scene for scene in (training_scene("base", 0, index, 0.9) for index in range(600)) if scene.blank]
    assert blank and all(talk.kind == "direct" for scene in blank for talk in scene.conversations)


def test_training_asks_in_more_words_and_never_in_those_of_the_evaluation():
    for family, known in FAMILIES.items():
        wordings = corpus.MORE_WORDINGS[family]
        assert not set(wordings) & {*known.phrasings, *known.held_out} and len(set(wordings)) >= 3
    asked = {text_of(m) for talk in talks("base", 600) for m in talk.messages if m["role"] == "user"}
    for said in ("What is written over the chart?", "What does the title say?"):
        assert any(text.startswith(said) for text in asked)
    assert not any(text.startswith(FAMILIES["title_word"].held_out) for text in asked)
