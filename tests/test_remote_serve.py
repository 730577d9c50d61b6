"""The remote backend against `transformers serve` with nano: a server of other people's, as a process of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from insightv_core import prompts
from insightv_core.generate import GenerateSettings, generate, name_run
from insightv_core.nano.model import find_model
from insightv_core.records import COMPLETE, Question, Sampling
from insightv_core.vlm import LENGTH, STOP, Talk
from insightv_core.vlm.local import load_local
from insightv_core.vlm.remote import RemoteSettings, connect

pytestmark = pytest.mark.slow
pytest.importorskip("fastapi", reason="transformers serve needs the extra packages of transformers[serving]")
DEMO = Path(__file__).parents[1] / "data" / "demo"
GREEDY = GenerateSettings(Sampling((0.0,), top_p=1.0, max_tokens=150))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A copy of nano-teacher that lets the server draw: it does so only where the model's own settings say so."""
    folder = tmp_path_factory.mktemp("models") / "nano-teacher"
    shutil.copytree(find_model("nano-teacher"), folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": True}))
    return folder


@pytest.fixture(scope="module")
def url(model_folder, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model_folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    log = tmp_path_factory.mktemp("log") / "serve.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_for_port(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for_port(process, port, log, patience=180):
    deadline = time.monotonic() + patience
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)


@pytest.fixture
def vlm(url, model_folder):
    # The seed is set when a request comes in, so only requests one after the other are drawn by their own.
    return connect(RemoteSettings((url,), model=str(model_folder), concurrency=1))


def hold(vlm, settings, samples=(0,), **more):
    """Return the paths of the first demo question, by sample."""
    row = json.loads((DEMO / "questions.jsonl").read_text().splitlines()[0])
    question = Question(row["id"], row["question"], row["answer"], row["image"], "demo", row["answer_type"])
    run = name_run(vlm.version, settings)
    paths = generate([(question, samples)], vlm, run, settings, image_file=lambda name: DEMO / name, **more)
    return {path.sample: path for path in paths}


def words(path):
    return [turn.raw for turn in path.turns], path.final_raw, path.answer


def test_a_path_is_the_same_as_that_of_the_model_in_this_process(vlm):
    path = hold(vlm, GREEDY)[0]
    assert path.status == COMPLETE and len(path.steps) >= 2
    assert words(path) == words(hold(load_local("nano-teacher", device="cpu"), GREEDY)[0])
    used = vlm.usage()
    assert used.requests == len(path.turns) + 1 and used.decoded_tokens == path.tokens > 20
    assert used.prefill_tokens > 100 * used.requests


def test_samples_without_n_are_drawn_one_by_one_each_by_its_own_seed(vlm, capsys):
    settings = GenerateSettings(Sampling((1.0,), max_tokens=150, seed=5))
    paths = hold(vlm, settings, (0, 1, 2))
    assert sorted(paths) == [0, 1, 2] and len({words(path)[0][0] for path in paths.values()}) > 1
    assert "takes no n" in capsys.readouterr().err
    assert words(hold(vlm, settings, (1,))[1]) == words(paths[1])


def test_requests_at_once_are_all_answered(url, model_folder):
    vlm = connect(RemoteSettings((url,), model=str(model_folder), concurrency=4))
    alike = hold(vlm, GREEDY, range(4))
    assert len(alike) == 4 and len({str(words(path)) for path in alike.values()}) == 1


def test_fields_that_it_refuses_or_ignores_do_not_matter(vlm, capsys):
    settings = GenerateSettings(
        Sampling((0.0,), top_k=1, repetition_penalty=1.0001, max_tokens=150), constrain="always"
    )  # fmt: skip
    assert words(hold(vlm, settings)[0]) == words(hold(vlm, GREEDY)[0])
    assert "takes no top_k, repetition_penalty, so" in capsys.readouterr().err


def test_text_is_heard_as_it_comes(vlm):
    heard = []
    path = hold(vlm, GREEDY, listen=heard.append)[0]
    assert words(path) == words(hold(vlm, GREEDY)[0]) and path.tokens > 20
    first = [event for event in heard if event.turn == 0]
    assert len(first) > 1 and [event.done for event in first] == [False] * (len(first) - 1) + [True]
    assert all(path.turns[0].raw.startswith(event.text) for event in first)


def test_a_reply_that_is_too_long_is_cut_off(vlm):
    talk = Talk("q", prompts.ask("What?", prompts.GENERATE, described="a red circle"))
    for limit, finish in ((3, LENGTH), (150, STOP)):
        ((conversation,)) = vlm.converse([talk], Sampling((0.0,), max_tokens=limit))
        assert conversation.replies[0].finish == finish
        assert (conversation.replies[0].tokens == 3) == (limit == 3)
