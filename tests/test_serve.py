"""The OpenAI-compatible endpoint: a real server process, asked by the real `openai` client."""

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from insightv_core.agents import Agent
from insightv_core.cli import main
from insightv_core.generate import CHAIN
from insightv_core.parse import write_answer, write_step
from insightv_core.records import Question, Sampling, Step
from insightv_core.serve.answering import Done, Job, Said, answer_batch, cut
from insightv_core.serve.asks import Ask, Refused, Served, read_ask
from insightv_core.serve.desk import MOST_WAITING, Desk, choose_batch
from insightv_core.vlm import Event
from insightv_core.vlm.scripted import ScriptedVLM

openai = pytest.importorskip("openai")
DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"

# A model whose replies say what it was shown; what it is asked to do is written into a file, one line a batch.
SERVER = """
import json, sys, time
from insightv_core import prompts
from insightv_core.agents import Agent
from insightv_core.parse import SummaryReply, write_answer, write_step, write_summary
from insightv_core.records import ModelVersion, Step
from insightv_core.serve.asks import Served
from insightv_core.serve.server import serve
from insightv_core.vlm import ERROR, STOP, Conversation, Event, Reply, Usage

port, log, style, key = int(sys.argv[1]), open(sys.argv[2], "a"), sys.argv[3], sys.argv[4]

def write(**values):
    print(json.dumps(values), file=log, flush=True)

def script(talk):
    text = talk.messages[-1]["content"][-1]["text"]
    question, size = text.splitlines()[0], "x".join(map(str, talk.images[0].size))
    if prompts.SUMMARIZE in text:
        steps = text.count("Step ")
        return ["no JSON"] if question == "unreadable" else [write_summary(SummaryReply("sound", f"{steps} steps"))]
    if prompts.DIRECT in text:
        return [f"{question} {size} then more"]
    steps = [write_step(Step("Look", f"It has {size}.")), write_step(Step("Think", question, "summary"))]
    return ["\\n".join(steps), write_answer(question)] if style == "chain" else [*steps, write_answer(question)]

class Model:
    version = ModelVersion("/some/folder/scripted", "s")
    context_length = 4096
    read = 0

    def converse(self, talks, sampling, *, adapter=None, listen=None, stop=None):
        talks = list(talks)
        asked = [talk.messages[-1]["content"][-1]["text"].splitlines()[0] for talk in talks]
        write(asked=asked, temperature=sampling.temperatures[0], max_tokens=sampling.max_tokens, seed=sampling.seed)
        if "fail" in asked:
            raise RuntimeError("secret detail")
        for talk, question in zip(talks, asked):
            self.read += 100
            replies = []
            if question == "long":
                yield Conversation(talk.key, 0, (Reply("the prompt fills the model's context", 0, None, ERROR, 0.0),))
                continue
            for turn, text in enumerate(script(talk)):
                for _ in range(15 if "slow" in question else 0):
                    if stop():
                        write(stopped=question)
                        return
                    time.sleep(0.01)
                replies.append(Reply(text, len(text.split()), 0.0, STOP, 0.0))
                if listen:
                    half = text[: len(text) // 2]
                    listen(Event(talk.key, 0, turn, half, False))
                    listen(Event(talk.key, 0, turn, text, True))
                if talk.next_turn(replies) is None:
                    break
            yield Conversation(talk.key, 0, tuple(replies))

    def usage(self):
        return Usage(prefill_tokens=self.read)

model = Model()
serve(Served(Agent(model, "reason"), Agent(model, "summary"), Agent(model), style), port, key=key, max_megabytes=1)
"""


class Running:
    """A server process on a free port, and what its model wrote down."""

    def __init__(self, folder, style="progressive", key=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log, self.output = folder / "log.jsonl", folder / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port), str(self.log), style, key],
            stdout=self.output.open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_until(lambda: "serving" in self.output.read_text() or self.process.poll() is not None)
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or "none", max_retries=0, timeout=20)

    def ask(self, question="What?", model="insightv", **more):
        return self.client.chat.completions.create(model=model, messages=[user(question)], **more)

    def batches(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self):
        self.process.kill()
        self.process.wait(10)


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def data_url(width=10, height=12):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def user(text, *urls, picture=True):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls or ([data_url()] if picture else [])]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("serve"))
    yield running
    running.end()


# -- answers -----------------------------------------------------------------------------------------------------------


def test_models_are_listed_without_their_folders(server):
    assert [model.id for model in server.client.models.list()] == ["insightv", "reasoning", "scripted"]
    assert server.client.models.retrieve("scripted").id == "scripted"
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("gpt-5")


def test_both_agents_answer_with_the_chain_beside_the_answer(server):
    reply = server.ask("Which?")
    (choice,) = reply.choices
    assert choice.message.content == "2 steps" and choice.finish_reason == "stop"
    assert choice.message.reasoning_content == "Step 1: Look: It has 10x12.\nStep 2: Think: Which?\n"
    assert reply.insightv["verdict"] == "sound" and reply.insightv["chain_answer"] == "Which?"
    usage = reply.usage
    # By words, as this model counts: two steps and the answer, then the summary; two prompts of a hundred.
    assert usage.completion_tokens_details.reasoning_tokens == 8 + 6 + 2
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (200, 16 + 5, 221)


def test_the_other_models_are_the_reasoning_agent_and_the_base_model(server):
    alone = server.ask("Which?", "reasoning")
    assert alone.choices[0].message.content == "Which?" and "Step 2" in alone.choices[0].message.reasoning_content
    base = server.ask("Which?", "scripted", stop=[" then"])
    assert base.choices[0].message.content == "Which? 10x12" and base.choices[0].message.reasoning_content == ""


def test_a_summary_that_cannot_be_read_is_no_answer(server):
    reply = server.ask("unreadable")
    assert reply.choices[0].message.content == "" and reply.insightv["problem"] == "no JSON object"


@pytest.mark.parametrize("model", ["insightv", "reasoning", "scripted"])
def test_a_stream_says_the_same_piece_by_piece(server, model):
    whole = server.ask("Which?", model)
    chunks = list(server.ask("Which?", model, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    for name in ("content", "reasoning_content"):
        said = [getattr(delta, name, None) or "" for delta in deltas]
        assert "".join(said) == getattr(whole.choices[0].message, name)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_step_is_sent_before_the_next_is_written(server):
    times = []
    for chunk in server.ask("slow", stream=True):
        times += [time.monotonic()] if getattr(chunk.choices[0].delta, "reasoning_content", None) else []
    assert len(times) == 2 and times[1] - times[0] > 0.1


def test_the_last_question_and_the_newest_picture_count(server):
    messages = [
        {"role": "system", "content": "Speak French."}, user("First?", data_url(20, 20)),
        {"role": "assistant", "content": "A square."}, user("Second?", data_url(30, 40)),
        {"role": "assistant", "content": "A picture."}, {"role": "user", "content": "<image> Third?"},
    ]  # fmt: skip
    reply = server.client.chat.completions.create(model="scripted", messages=messages)
    assert reply.choices[0].message.content == "Third? 30x40 then more"


def test_sampling_is_that_of_the_request(server):
    server.ask("sampled", temperature=0.7, seed=5, max_tokens=20)
    chain, summary = server.batches()[-2:]
    assert (chain["temperature"], chain["seed"], chain["max_tokens"]) == (0.7, 5, 1024)
    assert (summary["temperature"], summary["max_tokens"]) == (0.0, 20 + 64)
    server.ask("sampled", "scripted", max_tokens=20)
    assert (server.batches()[-1]["temperature"], server.batches()[-1]["max_tokens"]) == (0.0, 20)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words", "param"),
    [
        ({"messages": [user("What?", picture=False)]}, "there is no picture", "messages"),
        ({"messages": [user("What?", "https://example.org/a.png")]}, "addresses are not fetched", "messages"),
        ({"messages": [user("What?", "file:///etc/passwd")]}, "addresses are not fetched", "messages"),
        ({"messages": [user("What?", "data:image/png;base64,AAAA")]}, "no kind that can be read", "messages"),
        ({"messages": [user("What?", data_url()[:-30])]}, "", "messages"),
        ({"messages": [user("What?", data_url(), data_url())]}, "2 pictures", "messages"),
        ({"messages": [user(" ")]}, "the question is empty", "messages"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, "role user", "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "'input_audio'", "messages"),
        ({"max_tokens": 5000}, "4096 tokens at most", "max_tokens"),
        ({"max_tokens": 0}, "from 1 to", "max_tokens"),
        ({"temperature": "hot"}, "from 0 to 2", "temperature"),
        ({"n": 2}, "not supported", "n"),
        ({"stop": [1]}, "stop is no text", "stop"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(server, change, words, param):
    asked = {"model": "insightv", "messages": [user("What?")]} | change
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            server.client.chat.completions.create(**asked, stream=stream)
        assert words in caught.value.body["message"] and caught.value.body["param"] == param
        assert caught.value.body["type"] == "invalid_request_error"


def test_unknown_models_broken_bodies_and_other_routes_have_errors_of_the_same_form(server):
    with pytest.raises(openai.NotFoundError) as caught:
        server.ask(model="gpt-5")
    assert caught.value.body["code"] == "model_not_found" and "insightv, reasoning, scripted" in str(caught.value)
    path, kind = f"{server.url}/v1/chat/completions", {"content-type": "application/json"}
    for content, headers, status in (
        ("{", kind, 400), ("[]", kind, 400), ("a=1", {}, 415), ("{}", kind | {"host": "evil.example"}, 400),
        ("{", kind | {"content-length": "9000000"}, 413),
    ):  # fmt: skip
        found = httpx.post(path, content=content * (9_000_000 if status == 413 else 1), headers=headers)
        assert found.status_code == status
        assert "evil" in str(headers) or found.json()["error"]["message"]
    assert httpx.get(path).status_code == 405 and httpx.get(f"{server.url}/v2").json()["error"]["code"] is None


def test_a_picture_over_the_limit_is_refused(server):
    noise = Image.effect_noise((1100, 1100), 90)
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    with pytest.raises(openai.BadRequestError, match="over the limit of 1 MB"):
        server.client.chat.completions.create(model="insightv", messages=[user("What?", url)])


def test_a_model_that_fails_answers_with_an_error_and_goes_on(server):
    with pytest.raises(openai.InternalServerError) as caught:
        server.ask("fail")
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        server.ask("long", "scripted")
    assert caught.value.body["code"] == "context_length_exceeded"
    assert server.ask("Which?").choices[0].message.content == "2 steps"


# -- several clients ---------------------------------------------------------------------------------------------------


def test_requests_that_wait_are_answered_together_each_with_its_own_answer(server):
    questions = [f"Number {number}?" for number in range(6)]
    found = {}
    before = len(server.batches())
    first = threading.Thread(target=server.ask, args=("slow", "reasoning"))
    first.start()
    wait_until(lambda: len(server.batches()) > before)

    def ask(question):
        found[question] = server.ask(question, temperature=0.5 if question == questions[5] else 0.0)

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in [first, *threads]:
        thread.join(20)
    for question, reply in found.items():
        assert reply.insightv["chain_answer"] == question and question in reply.choices[0].message.reasoning_content
    chains = [sorted(batch["asked"]) for batch in server.batches()[before + 1 :: 2]]
    # The one with another temperature is a batch of its own.
    assert len(found) == 6 and sorted(chains) == sorted([questions[:5], questions[5:]])


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_work(server, stream):
    question = f"slow {stream}"
    if stream:
        reply = server.ask(question, stream=True)
        next(iter(reply))
        reply.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            server.client.with_options(timeout=0.1).chat.completions.create(
                model="insightv", messages=[user(question)]
            )  # fmt: skip
    wait_until(lambda: {"stopped": question} in server.batches(), 3)
    assert server.ask("Which?").choices[0].message.content == "2 steps"


def test_ctrl_c_refuses_what_is_under_way_and_ends(tmp_path):
    running = Running(tmp_path, style="chain", key="a secret")
    try:
        with pytest.raises(openai.AuthenticationError):
            running.client.with_options(api_key="another").models.list()
        assert "a secret" not in running.output.read_text()
        reply = running.ask("Which?")
        assert reply.choices[0].message.reasoning_content == "Step 1: Look: It has 10x12.\nStep 2: Think: Which?\n"
        refused = []

        def ask():
            with contextlib.suppress(openai.OpenAIError):
                running.ask("slow")
                return
            refused.append(True)

        waiting = threading.Thread(target=ask)
        waiting.start()
        wait_until(lambda: running.batches()[-1]["asked"] == ["slow"])
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(10) == 0
        waiting.join(5)
        assert refused and running.batches()[-1] == {"stopped": "slow"}
        assert "Traceback" not in running.output.read_text()
    finally:
        running.end()


# -- parts -------------------------------------------------------------------------------------------------------------


def make_job(question, model="m"):
    said = []
    ask = Ask(model, Question(question, question, "", "", "t"), Image.new("RGB", (8, 8)), Sampling())
    return Job(ask, said.append), said


def test_the_same_question_twice_waits_for_its_own_batch():
    jobs = [make_job(name)[0] for name in ("a", "b", "a", "c")]
    batch, left = choose_batch(jobs)
    assert batch == [jobs[0], jobs[1], jobs[3]] and left == [jobs[2]]


def test_a_client_that_leaves_while_it_waits_is_not_answered_and_a_full_desk_says_so():
    vlm = ScriptedVLM(lambda talk, sample: ["red"])
    desk = Desk(Served(Agent(vlm), Agent(vlm), Agent(vlm)))
    (one, heard), (other, said) = make_job("a"), make_job("b")
    one.gone.set()
    desk.take(one)
    desk.take(other)
    wait_until(lambda: one.ended and other.ended)
    assert heard[0].status == 499 and [talk.key for talk in vlm.talks] == ["b"] and said[0] == Said("content", "red")
    desk.waiting = [one] * MOST_WAITING
    with pytest.raises(Refused) as caught:
        desk.take(other)
    assert caught.value.status == 429
    desk.waiting = []
    desk.close()
    desk.thread.join(5)
    with pytest.raises(Refused, match="stopping"):
        desk.take(other)


def test_a_client_that_leaves_a_shared_batch_ends_its_own_chain_alone():
    steps = [write_step(Step("Look", "It is red.")), write_step(Step("Think", "So red.", "summary"))]
    vlm = ScriptedVLM(lambda talk, sample: [*steps, write_answer("red")])
    (one, heard), (other, said) = make_job("a", model="reasoning"), make_job("b", model="reasoning")
    one.tell = lambda piece: (heard.append(piece), one.gone.set())
    answer_batch([one, other], Served(Agent(vlm), Agent(vlm), Agent(vlm)), lambda: False)
    assert vlm.replies_given == 1 + 3 and [piece for piece in heard if isinstance(piece, Said)] == heard[:1]
    assert said[-2] == Said("content", "red") and isinstance(said[-1], Done)


def test_steps_of_a_whole_chain_are_told_once_each_as_their_lines_end():
    job, said = make_job("a")
    first, second = write_step(Step("Look", "It is red.")), write_step(Step("Think", "So red.", "summary"))
    texts = [first[:9], first + "\n", f"{first}\n{second[:9]}", f"{first}\n{second}"]
    told = []
    for text in texts:
        job.hear_chain(Event("a", 0, 0, text, text == texts[-1]), CHAIN)
        told.append(len(said))
    assert told == [0, 1, 1, 2] and said[1].text == "Step 2: Think: So red.\n"


def test_an_answer_is_cut_before_a_stop_text_that_comes_in_pieces():
    job, said = make_job("a")
    job = Job(Ask("m", job.ask.question, job.ask.picture, Sampling(), stops=("END",)), said.append)
    for text in ("red E", "red EN", "red END of", "red END of it"):
        job.hear_answer(text, False)
    assert job.hear_answer("red END of it", True)
    assert "".join(piece.text for piece in said) == "red " and all(isinstance(piece, Said) for piece in said)
    assert cut("no stop", ("END",)) == "no stop"


def test_the_same_seed_names_the_same_draws_and_no_seed_others():
    served = Served(*[type("A", (), {"vlm": type("V", (), {"version": type("N", (), {"name": "org/m"})})})] * 3)

    def key(**more):
        body = {"model": "org/m", "messages": [user("What?")], **more}
        return read_ask(json.dumps(body).encode(), served).question.id

    assert key(seed=1) == key(seed=1) and key() != key()
    with pytest.raises(Refused):
        key(seed=-1)


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_key_that_is_insisted_on_must_be_there(capsys, monkeypatch):
    monkeypatch.delenv("INSIGHTV_API_KEY", raising=False)
    assert main(["serve", "--api-key"]) == 1
    assert "INSIGHTV_API_KEY is not set" in capsys.readouterr().err
    assert main(["serve", "--adapter", "nowhere"]) == 1 and "no adapter at nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_nano_answers_over_the_endpoint_as_it_does_here(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = (tmp_path / "output.txt").open("w")
    start, environment = [sys.executable, "-m", "insightv_core"], os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*start, "serve", "--device", "cpu", "--port", str(port)],
        stdout=output, stderr=subprocess.STDOUT, env=environment,
    )  # fmt: skip
    try:
        wait_until(lambda: "serving" in Path(output.name).read_text(), 120)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
        row = json.loads((DEMO / "questions.jsonl").read_text().splitlines()[0])
        picture, question = DEMO / row["image"], row["question"]
        url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
        reply = client.chat.completions.create(model="insightv", messages=[user(question, url)])
        assert reply.usage.completion_tokens > 20 and reply.usage.prompt_tokens > 100
        command = [*start, "chat", "--image", str(picture), "--question", question, "--device", "cpu", "--json"]
        solved = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        assert reply.choices[0].message.content == (solved["answer"] or "")
        assert reply.insightv["verdict"] == solved["verdict"]
        assert reply.usage.completion_tokens == solved["reasoning_tokens"] + solved["summary_tokens"]
        asked = {"model": "insightv", "messages": [user(question, url)], "stream": True}
        deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked)]
        thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
        assert "".join(thoughts) == reply.choices[0].message.reasoning_content and thoughts[0].startswith("Step 1: ")
        chunks = list(client.chat.completions.create(model="nano-base", messages=[user("What?", url)], stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


TASK = """
dataset_path: parquet
dataset_kwargs: {data_files: {test: %s}}
task: tiny
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: "{{question}}"
doc_to_target: "answer"
generation_kwargs: {max_new_tokens: 16, temperature: 0}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
def test_lmms_eval_scores_the_agents_on_a_local_task(server, tmp_path):
    pytest.importorskip("lmms_eval", reason="asks for lmms-eval, which brings many packages of its own")
    import datasets

    questions = [f"Question {place}?" for place in range(8)]
    # The reasoning agent of this server answers with the question itself, so half of these are right.
    rows = [
        {"question": each, "answer": each if place % 2 else "?", "image": Image.new("RGB", (9, 9 + place))}
        for place, each in enumerate(questions)
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "tiny.yaml").write_text(TASK % (tmp_path / "rows.parquet"))
    (tmp_path / "utils.py").write_text("def doc_to_visual(doc):\n    return [doc['image']]\n")
    model = f"model=reasoning,base_url={server.url}/v1,api_key=none,num_concurrent=4"
    command = [sys.executable, "-m", "lmms_eval", "eval", "--model", "openai", "--model_args", model, "--tasks", "tiny"]
    subprocess.run(
        [*command, "--include_path", tmp_path, "--batch_size", "1", "--output_path", tmp_path / "out"],
        check=True, env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    (file,) = (tmp_path / "out").rglob("*_results.json")
    assert json.loads(file.read_text())["results"]["tiny"]["exact_match,none"] == 0.5
