"""The systems under test: ways to answer a question, from the base model to both agents.

A system takes items and yields an `Answered` for each, judged by the same rules (`insightv_core.answers`); what these
leave open or cannot read counts as not correct and is reported beside. What costs most, the chains, is written once:
`chain_alone` keeps them in its answers, and `judged_chains` lets a summary agent work on those of any question, so both
agents, always copying, and a chain of another question are three systems for one chain. `majority` keeps its samples in
the same way, for `best_of`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from insightv_core import prompts
from insightv_core.agents import (
    Agent,
    Chain,
    SolveSettings,
    answer_directly,
    judge_chains,
    make_solution,
    read_chain,
    solve_all,
    summary_talk,
    write_chains,
)
from insightv_core.answers import compare_answers
from insightv_core.answers.clean import tidy
from insightv_core.evaluate.items import Item
from insightv_core.evaluate.paths import judge_path
from insightv_core.generate import CHAIN, GenerateSettings, make_talk
from insightv_core.parse import SOUND, Unparsed, parse_answer, parse_chain, parse_summary
from insightv_core.records import Answered, Question, Sampling, Step, StepRecord
from insightv_core.vlm import ERROR, Reply, Talk

THINK_TOKENS = 512
ANSWER_MARK = "Answer:"
CHAINS, WHOLE, ALOUD = "chains", "whole", "aloud"
GREEDY_CHAINS = SolveSettings(GenerateSettings(Sampling((0.0,)), style=CHAIN))

System = Callable[[Sequence[Item]], Iterator[Answered]]

# -- one model ---------------------------------------------------------------------------------------------------------


def direct(agent: Agent) -> System:
    """Return the system that answers at once."""
    return lambda items: _answer(items, agent, prompts.DIRECT, Sampling((0.0,), max_tokens=64), lambda text: text)


def thinking(agent: Agent) -> System:
    """Return the system that thinks aloud before it answers, without agents: the chain-of-thought baseline."""
    sampling = Sampling((0.0,), max_tokens=THINK_TOKENS)
    return lambda items: _answer(items, agent, prompts.THINK, sampling, read_thoughts)


def one_model(agent: Agent, sampling: Sampling | None = None) -> System:
    """Return the system of direct supervised fine-tuning: one model writes chain and answer in one reply."""
    sampling = sampling or Sampling((0.0,))

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        known = {item.question.id: item.question for item in items}
        asked = ((item.question, item.image) for item in items)
        for key, reply in answer_directly(asked, agent, sampling, instruction=prompts.REASON):
            steps, said = ((), None) if reply.finish == ERROR else read_whole(reply.text)
            yield grade_path(known[key], steps, None, said, reply.tokens, reply.seconds, {"raw": reply.text})

    return answer


def _answer(items: Sequence[Item], agent: Agent, instruction: str, sampling: Sampling, read) -> Iterator[Answered]:
    known = {item.question.id: item.question for item in items}
    asked = ((item.question, item.image) for item in items)
    for key, reply in answer_directly(asked, agent, sampling, instruction=instruction):
        answer = None if reply.finish == ERROR else read(reply.text)
        yield grade(known[key], answer, reply.tokens, reply.seconds, {"raw": reply.text})


def read_thoughts(text: str) -> str | None:
    """Return the answer after the last "Answer:", None where there is none.

    >>> read_thoughts("Red is 3, blue is 4.\\nAnswer: 7")
    '7'
    """
    _, mark, answer = text.rpartition(ANSWER_MARK)
    return answer.strip() or None if mark else None


def read_whole(text: str) -> tuple[tuple[Step, ...], str | None]:
    """Return the steps of a reply and the answer that its last line gives as a JSON object; None where it has none.

    >>> read_whole('{"summary": "Add", "content": "3 + 4 = 7.", "action": "summary"}\\n{"answer": "7"}')[1]
    '7'
    """
    chain, _, last = text.strip().rpartition("\n")
    steps = parse_chain(chain)
    answer = parse_answer(last) if '"answer"' in last else Unparsed("no answer", last)
    return (
        () if isinstance(steps, Unparsed) else tuple(step for _, step in steps),
        None if isinstance(answer, Unparsed) else answer,
    )


# -- two agents --------------------------------------------------------------------------------------------------------


def two_agents(reasoning: Agent, summary: Agent, settings: SolveSettings | None = None) -> System:
    """Return the paper's system: a chain by one agent, the verdict and the answer by the other."""

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        known = {item.question.id: item.question for item in items}
        asked = ((item.question, item.image) for item in items)
        for solution in solve_all(asked, reasoning, summary, settings):
            details = {"chain_answer": solution.chain_answer, "verdict": solution.verdict}
            tokens = solution.reasoning_tokens + solution.summary_tokens
            seconds = solution.reasoning_seconds + solution.summary_seconds
            yield grade_path(
                known[solution.question], solution.steps, solution.truncated, solution.answer, tokens, seconds, details,
                solution.chain_answer,
            )  # fmt: skip

    return answer


def chain_alone(reasoning: Agent, settings: SolveSettings | None = None) -> System:
    """Return the system that always copies the reasoning agent's own answer, whatever the chain is worth."""
    chosen = settings or SolveSettings()

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        written = write_chains([(item.question, item.image) for item in items], reasoning, chosen.reasoning, None, None)
        for item in items:
            replies = written[item.question.id]
            chain = read_chain(replies, chosen.reasoning)
            tokens, seconds = sum(reply.tokens for reply in replies), sum(reply.seconds for reply in replies)
            yield grade_path(item.question, chain.steps, chain.truncated, chain.answer, tokens, seconds, {})

    return answer


def judged_chains(chains: Mapping[str, Answered], summary: Agent, settings: SolveSettings | None = None) -> System:
    """Return the system of both agents on chains that are written already: answers of `chain_alone` by question.

    With the chain of another question under a question's id this is the control that tells whether the chain matters.
    Tokens and seconds include those of the chain. Questions without a chain are left out.
    """
    chosen = settings or SolveSettings()

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        asked = [
            (item.question, item.image, read_stored(chains[item.question.id]))
            for item in items
            if item.question.id in chains
        ]
        said = judge_chains(asked, summary, chosen.summary)
        for question, _, chain in asked:
            copied = chains[question.id]
            solution = make_solution(question, (), chain, said[question.id])
            details = {"chain_answer": chain.answer, "verdict": solution.verdict, "chain_of": copied.item}
            yield grade_path(
                question, chain.steps, chain.truncated, solution.answer, copied.tokens + solution.summary_tokens,
                copied.seconds + solution.summary_seconds, details, chain.answer,
            )  # fmt: skip

    return answer


def exchange(chains: Mapping[str, Answered], items: Sequence[Item]) -> dict[str, Answered]:
    """Return for each item the chain of the one before it."""
    ids = [item.question.id for item in items]
    return {own: chains[ids[place - 1]] for place, own in enumerate(ids) if ids[place - 1] in chains}


def make_chain(steps: Sequence[Sequence[str]], truncated: str | None, answer: str | None) -> Chain:
    """Return a chain from the titles and contents of its steps, as answers keep them in their details."""
    turns = tuple(StepRecord("", Step(title, content), True, 0, None, 0.0) for title, content in steps)
    return Chain(turns, truncated, answer)


def read_stored(copied: Answered) -> Chain:
    """Return the chain that an answer of `chain_alone` holds."""
    return make_chain(copied.details["steps"], copied.details["truncated"], copied.answer)


# -- many samples ------------------------------------------------------------------------------------------------------


def majority(agent: Agent, samples: int, sampling: Sampling, way: str = CHAINS) -> System:
    """Return the system that answers what most of several samples come to; of equally many the first said.

    Samples are written in one of three ways: "chains" that end in a second turn, as the reasoning agent does; "whole",
    chain and answer in one reply, as `one_model` reads it; or "aloud", as `thinking` does. They are kept in the
    details, for `best_of`.
    """
    settings = GenerateSettings(sampling, style=CHAIN)

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        held: dict[str, dict[int, tuple[Reply, ...]]] = {item.question.id: {} for item in items}
        talks = (_sample_talk(item, samples, settings, way) for item in items)
        for conversation in agent.vlm.converse(talks, sampling, adapter=agent.adapter):
            held[conversation.key][conversation.sample] = conversation.replies
        for item in items:
            found = [_read_sample(held[item.question.id][number], settings, way) for number in range(samples)]
            tokens, seconds = sum(each["tokens"] for each in found), sum(each["seconds"] for each in found)
            said = vote([each["answer"] for each in found])
            yield grade(item.question, said, tokens, seconds, {"samples": found})

    return answer


def _sample_talk(item: Item, samples: int, settings: GenerateSettings, way: str) -> Talk:
    talk = make_talk(item.question, item.image, range(samples), settings)
    if way == CHAINS:
        return talk
    instruction = prompts.REASON if way == WHOLE else prompts.THINK
    messages = prompts.ask(prompts.write_question(item.question), instruction)
    return Talk(talk.key, messages, talk.images, talk.samples)


def _read_sample(replies: Sequence[Reply], settings: GenerateSettings, way: str) -> dict:
    chain = read_chain(replies, settings) if way == CHAINS else _read_reply(replies[0], way)
    return {
        "steps": [[step.summary, step.content] for step in chain.steps],
        "truncated": chain.truncated,
        "answer": chain.answer,
        "tokens": sum(reply.tokens for reply in replies),
        "seconds": sum(reply.seconds for reply in replies),
    }


def _read_reply(reply: Reply, way: str) -> Chain:
    """Return the chain and answer of a sample that is one reply."""
    if reply.finish == ERROR:
        return Chain((), f"the model failed: {reply.text}")
    steps, answer = read_whole(reply.text) if way == WHOLE else ((), read_thoughts(reply.text))
    return make_chain([[step.summary, step.content] for step in steps], None, answer)


def best_of(
    sampled: Mapping[str, Answered], summary: Agent, samples: int, settings: SolveSettings | None = None
) -> System:
    """Return the system that takes the first of several sampled chains which the summary agent calls sound.

    `sampled` are answers of `majority` by question; the first `samples` chains of each are judged, and the answer is
    the summary agent's to the chosen chain. Where it calls none sound, it is its answer to the first.
    """
    chosen = settings or SolveSettings()

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        said = _judge_samples(
            [item for item in items if item.question.id in sampled], sampled, summary, samples, chosen
        )
        for item in items:
            if item.question.id not in sampled:
                continue
            written = sampled[item.question.id].details["samples"][:samples]
            judged = said[item.question.id]
            tokens = sum(each["tokens"] for each in written) + sum(reply.tokens for reply in judged)
            seconds = sum(each["seconds"] for each in written) + sum(reply.seconds for reply in judged)
            replies = [parse_summary(reply.text) if reply.finish != ERROR else None for reply in judged]
            read = [None if isinstance(each, Unparsed) else each for each in replies]
            place = next((n for n, each in enumerate(read) if each is not None and each.verdict == SOUND), 0)
            best = read[place]
            details = {"chosen": place, "verdicts": [each.verdict if each else None for each in read]}
            yield grade(item.question, best.answer if best else None, tokens, seconds, details)

    return answer


def _judge_samples(
    items: Sequence[Item], sampled: Mapping[str, Answered], summary: Agent, samples: int, settings: SolveSettings
) -> dict[str, list[Reply]]:
    """Return the summary agent's replies to the first samples of each item."""
    talks = []
    for item in items:
        for place, each in enumerate(sampled[item.question.id].details["samples"][:samples]):
            chain = make_chain(each["steps"], each["truncated"], each["answer"])
            talk = summary_talk(item.question, item.image, chain)
            talks.append(replace(talk, key=f"{item.question.id}/{place}"))
    said = {
        conversation.key: conversation.replies[0]
        for conversation in summary.vlm.converse(talks, settings.summary, adapter=summary.adapter)
    }
    return {
        item.question.id: [
            said[f"{item.question.id}/{place}"]
            for place in range(len(sampled[item.question.id].details["samples"][:samples]))
        ]
        for item in items
    }


def vote(answers: Sequence[str | None]) -> str | None:
    """Return what most answers say, the first of it; answers that are missing have no vote.

    >>> vote(["7", None, "8", "The answer is 8."])
    '8'
    """
    said = [answer for answer in answers if answer]
    if not said:
        return None
    meant = [tidy(answer).lower().rstrip(" .") for answer in said]
    counts = Counter(meant)
    return said[meant.index(max(meant, key=counts.__getitem__))]


# -- judging -----------------------------------------------------------------------------------------------------------


def grade(question: Question, answer: str | None, tokens: int, seconds: float, details: dict) -> Answered:
    """Judge an answer by the rules; family and level of the question go with it."""
    verdict = compare_answers(
        answer, question.answer, answer_type=question.answer_type, options=question.options,
        tolerance=question.tolerance,
    )  # fmt: skip
    told = {"family": question.family or None, "level": question.level}
    kept = {name: value for name, value in told.items() if value is not None}
    return Answered(question.id, answer, verdict.outcome, verdict.reason, tokens, seconds, {**kept, **details})


def grade_path(
    question: Question, steps: Sequence[Step], truncated: str | None, answer: str | None, tokens: int, seconds: float,
    details: dict, chain_answer: str | None = None,
) -> Answered:  # fmt: skip
    """Judge an answer and the path that led to it, whose own answer may be another one."""
    graded = grade(question, answer, tokens, seconds, details)
    own = answer if chain_answer is None else chain_answer
    outcome = graded.outcome if own == answer else grade(question, own, 0, 0.0, {}).outcome
    path = judge_path(question, steps, truncated, outcome)
    written = {"steps": [[step.summary, step.content] for step in steps], "truncated": truncated}
    return replace(graded, details={**graded.details, **written, **path})
