"""The app without a browser: what pages say of records, what handlers do, and what they refuse."""

import base64
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path as FilePath

import pytest
from app_project import ATTACK, QUESTIONS, SlowVLM, make_path, make_project
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app import render
from app.browse import notebook_cell, render_browse
from app.chat import Desk
from app.overview import render_overview
from app.pages import Project, address
from app.pictures import find_picture
from app.question import render_question
from app.turn import Turn, read_partial, render_chain
from insightv_core.agents import REASONING
from insightv_core.errors import UserError
from insightv_core.generate import CHAIN
from insightv_core.parse import write_step
from insightv_core.records import ModelVersion, Question, Step, StepRecord
from insightv_core.store import open_store
from insightv_core.store.browse import PathFilter, filter_from_query, list_questions
from insightv_core.store.training import add_model
from insightv_core.vlm import Event


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def store(file):
    with open_store(file) as store:
        yield store


def first_question(store) -> str:
    return next(store.questions(limit=1)).id


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


# -- render ------------------------------------------------------------------------------------------------------------

steps = st.builds(Step, st.text(min_size=1), st.text(min_size=1))


@given(st.lists(steps, max_size=5), st.lists(steps, max_size=5), st.lists(steps, max_size=5))
def test_shared_steps_is_the_length_of_the_common_beginning(shared, left, right):
    count = render.shared_steps([*shared, *left], [*shared, *right])
    assert count >= len(shared)
    longest = min(len(shared + left), len(shared + right))
    assert count == longest or (shared + left)[count] != (shared + right)[count]


@given(st.text())
def test_whatever_a_model_wrote_stays_text(text):
    turn = StepRecord(text, Step(f"{ATTACK}{text}", f"{text}{ATTACK}"), True, 3, -1.0, 0.1)
    html = render.render_timeline([turn, StepRecord(f"{ATTACK}{text}", None, False, 1, None, 0.1)], ["sound"])
    assert "<img" not in html and "<script" not in html
    assert html.count("&lt;script&gt;") == 3


def test_confidence_is_shown_only_where_it_is_known():
    known, unknown = StepRecord("", None, True, 10, -2.0, 0.0), StepRecord("", None, True, 10, None, 0.0)
    assert "0.82" in render.render_confidence(known)
    assert visible(render.render_confidence(unknown)).strip() == ""


def test_a_comparison_greys_what_is_shared_and_marks_the_first_step_that_differs():
    question = Question("q", "?", "4", "", "demo")
    left, right = make_path(question, 0), make_path(question, 1)
    html = render.render_comparison(left, right, {left.id: ("sound", "sound")})
    assert html.count("same in both") == 1 and html.count('id="parting"') == 1
    assert html.index("same in both") < html.index('id="parting"') < html.index("on path 0")
    same = render.render_comparison(left, left, {})
    assert 'id="parting"' not in same and "The chains are the same." in same
    unread = render.render_comparison(left, make_path(question, 3), {})
    assert unread.count("the chain is over") == 2 and "could not be read" in unread


@pytest.mark.parametrize(
    "left, right, words",
    [("ab", "ac", "parts at step 2"), ("ab", "ab", "same"), ("ab", "abc", "ends after step 2"), ("", "a", "no steps")],
)
def test_where_two_chains_part_is_said_in_words(left, right, words):
    chains = [[Step(letter, letter) for letter in chain] for chain in (left, right)]
    assert words in render.describe_parting(*chains)


def test_verdicts_are_never_told_by_colour_alone():
    for kinds in (render.OUTCOMES, render.VERDICTS):
        shown = {render.mark(kinds, kind) for kind in kinds}
        assert len({re.sub(r'class="mark \w+"', "", html) for html in shown}) == len(kinds)


@given(st.text(), st.text())
def test_a_step_can_be_read_while_it_is_written(title, content):
    written = write_step(Step(title.strip() or "t", content.strip() or "c"))
    for end in range(0, len(written), 7):
        read_partial(written[:end])
    assert read_partial('{"summary": "Add", "content": "a \\"b\\"') == ("Add", 'a "b"')


# -- pages -------------------------------------------------------------------------------------------------------------


def test_overview_counts_every_stage_and_names_the_next_action(store):
    html = render_overview(store)
    numbers = dict(re.findall(r'data-funnel="(\w+)">.*?<td class="number">([\d,]+)</td>', html))
    judged = QUESTIONS // 2 - 1
    assert numbers == {
        "questions": str(QUESTIONS), "paths": str(2 * QUESTIONS), "complete": str(QUESTIONS // 2 * 3),
        "correct": str(judged), "scored": str(3 * judged), "pairs": "0", "reviewed": "0",
    }  # fmt: skip
    assert f"insightv assess --project {store.file}" in html
    assert "handmade" in html and f"n = {3 * judged}" in visible(html)


def test_an_empty_project_offers_the_demo_and_importing_it_fills_the_page(tmp_path):
    from app import overview

    file = tmp_path / "new.db"
    with open_store(file, create=True) as store:
        assert 'data-action="import_demo"' in render_overview(store)
        assert overview.DEMO.is_dir()
        overview.import_questions(store, overview.DEMO, limit=5)
        assert "insightv generate" in render_overview(store)
        assert "no questions" not in render_overview(store)


def test_browse_shows_a_page_with_counts_that_agree_with_the_store(store):
    filter = PathFilter(family="bar_total", outcome="wrong")
    html = render_browse(store, filter)
    listed = [row.id for row in list_questions(store, filter, limit=1000).rows]
    assert re.findall(r'data-question="(\w+)"', html) == listed[:36]
    assert 'aria-label="Remove answer: wrong"' in html
    correct = re.search(r'outcome=correct[^>]*>(?:(?!</li>).)*?<span class="number soft">(\d+)', html)
    assert correct and int(correct[1]) == len(listed)


def test_the_second_page_goes_on_where_the_first_ended(store):
    first = render_browse(store, PathFilter())
    after = re.search(r"after=([\w-]+)", first)
    second = render_browse(store, PathFilter(), after[1])
    both = re.findall(r'data-question="(\w+)"', first) + re.findall(r'data-question="(\w+)"', second)
    assert len(both) == len(set(both)) == QUESTIONS
    assert "« first page" in second and "next page" not in second


def test_the_address_of_a_view_leads_back_to_its_filter(store):
    filter = PathFilter(family="bar_total", score_low=30, search='a "b" & c', reviewed=False)
    assert filter_from_query(address(filter)) == filter


def test_the_notebook_cell_lists_the_same_questions(store):
    filter = PathFilter(family="bar_total", score_low=30, search="the sum")
    found: dict = {}
    code = notebook_cell(store, filter).replace("list_questions(store", "found = list_questions(store")
    exec(code, found)
    found["store"].close()
    assert found["found"] == list_questions(store, filter).rows and found["found"]


def test_an_opened_question_ranks_its_paths_and_shows_steps_judge_and_lineage(store):
    html = render_question(store, PathFilter(question=first_question(store)), {})
    text = visible(html)
    assert re.findall(r'class="score"[^>]*>([\d-]+)<', html) == ["90", "--", "40", "12"]
    assert html.count('<details class="path"') == 4 and html.count(" open>") == 1
    assert "Rules: answer 0 against 0" in text  # what the rules found is not put into the mouth of the judge
    for words in ("the judge said 0", "temperature 0.9, seed 11", "parts at step 2", "could not be read", "0.82"):
        assert words in text
    assert "<script" not in html and "<img src=x" not in html


def test_two_paths_are_compared_only_when_both_belong_to_the_question(store):
    question, other = [each.id for each in store.questions(limit=3)][::2]
    ids = [path.id for path in store.paths_of(question)]
    filter = PathFilter(question=question)
    assert 'id="parting"' in render_question(store, filter, {"path": ids[0], "compare": ids[1]})
    foreign = store.paths_of(other)[0].id
    assert 'id="parting"' not in render_question(store, filter, {"path": ids[0], "compare": foreign})


def test_a_bad_address_is_explained(store):
    for query in ("score_low=x", "sort=upwards", "reviewed=maybe"):
        with pytest.raises(UserError):
            filter_from_query(query)
    with pytest.raises(UserError, match="mark"):
        render_browse(store, PathFilter(), "nonsense")


# -- pictures and uploads ----------------------------------------------------------------------------------------------


def test_pictures_are_found_by_hash_alone(file, store):
    known = next(store.questions(limit=1)).image
    assert find_picture(file, known) == store.image_file(known)
    small = find_picture(file, known, "320")
    assert small and Image.open(small).format == "WEBP" and max(Image.open(small).size) <= 320
    (file.parent / "images" / "secret.png").write_bytes(b"secret")
    stray = "0" * 64
    (file.parent / "images" / "00").mkdir(exist_ok=True)
    (file.parent / "images" / "00" / f"{stray}.png").write_bytes(b"not of this project")
    for name in (stray, "secret", "../project.db", "..%2fproject.db", f"/{known}", known.upper(), str(file)):
        assert find_picture(file, name) is None
    assert find_picture(file, known, "100000") is None and find_picture(file, known, "../320") is None


def data_address(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_bytes(**options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, **options)
    return buffer.getvalue()


def test_an_upload_is_encoded_anew_and_anything_else_is_refused(file):
    desk = Desk(Project(file))
    hidden = png_bytes(format="JPEG", comment=b"<script>alert(1)</script>")
    taken = desk.take_picture(data_address(hidden, "image/jpeg"))
    assert taken["preview"].startswith("data:image/webp;base64,")
    assert desk.uploads[taken["picture"]].size == (40, 30) and not desk.uploads[taken["picture"]].info.get("comment")
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    bad = (data_address(drawing, "image/svg+xml"), str(file), f"file://{file}", "data:image/png;base64,%%%", "", "x")
    for address_given in bad:
        refused = desk.take_picture(address_given)
        assert set(refused) == {"problem"} and refused["problem"]
    assert len(desk.uploads) == 1


def test_only_the_newest_uploads_are_kept(file):
    desk = Desk(Project(file))
    for size in range(20, 40):
        buffer = io.BytesIO()
        Image.new("RGB", (size, size)).save(buffer, "PNG")
        desk.take_picture(data_address(buffer.getvalue()))
    assert [picture.size[0] for picture in desk.uploads.values()] == list(range(24, 40))


# -- chat --------------------------------------------------------------------------------------------------------------


def make_desk(file, **options) -> tuple[Desk, SlowVLM]:
    vlm = SlowVLM(**options)
    return Desk(Project(file, "nano-teacher", load=lambda name: vlm)), vlm


def test_chat_streams_the_steps_one_by_one_then_verdict_and_answers(file, store):
    desk, vlm = make_desk(file)
    question = list(store.questions(limit=13))[12]
    seen = list(desk.ask({"question": question.text, "picture": question.id}, "me"))
    counts = [html.count('class="step-title"') for html in seen]
    assert counts == sorted(counts) and {1, 2, 3} <= set(counts)
    text = visible(seen[-1])
    assert 'data-phase="done"' in seen[-1] and "The chain is sound. Answer 12" in text
    assert "✓ correct" in text and "✕ wrong" in text and "tokens/s" in text
    assert all("<img src=x" not in html and "<script" not in html for html in seen)
    assert all(talk.images[0].size == (64, 48) for talk in vlm.asked)


def test_stop_really_stops_the_model(file, store):
    desk, vlm = make_desk(file, pause=0.02)
    shown = desk.ask({"question": "How many?", "picture": first_question(store)}, "me")
    next(html for html in shown if "step-title" in html)
    desk.stop("someone else")
    assert not desk.stops["me"].is_set()
    desk.stop("me")
    *_, last = shown
    said = vlm.letters
    assert 'data-phase="stopped"' in last and vlm.stopped
    time.sleep(0.1)
    assert vlm.letters == said and not desk.stops


def test_closing_the_page_stops_the_model(file, store):
    desk, vlm = make_desk(file, pause=0.02)
    shown = desk.ask({"question": "How many?", "picture": first_question(store)}, "me")
    next(html for html in shown if "step-title" in html)
    shown.close()
    assert vlm.stopped


def test_an_edited_step_is_judged_again_with_exactly_the_edited_text(file, store):
    desk, vlm = make_desk(file, pause=0.0)
    *_, done = desk.ask({"question": "How many?", "picture": first_question(store)}, "me")
    assert done.count("data-edit") == 3
    contents = ["red is 3", "wrong on purpose <b>", "3 and 9 make 12."]
    *_, again = desk.judge_again({"steps": contents}, "me")
    assert "Step 2: Compare: wrong on purpose <b>" in json.dumps(vlm.asked[-1].messages)
    assert "The chain is sound" in visible(again) and "The chain is flawed" in visible(again)
    assert again.count("step edited") == 2 and "wrong on purpose &lt;b&gt;" in again
    for steps, session in ((["one"], "me"), ("abc", "me"), (contents, "someone else")):
        *_, refused = desk.judge_again({"steps": steps}, session)
        assert "problem" in refused


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"question": "How many?"}, "no picture"),
        ({"question": " ", "picture": "x"}, "empty"),
        ({"question": "How many?", "picture": "/etc/passwd"}, "no question"),
        ({"question": "How many?", "picture": "upload-gone"}, "no question"),
        ({"question": "How many?", "picture": ["a"]}, "no question"),
    ],
)
def test_what_cannot_be_asked_is_explained(file, asked, words):
    desk, vlm = make_desk(file)
    (said,) = desk.ask(asked, "me")
    assert words in said and "problem" in said and not vlm.asked


def test_a_model_that_cannot_be_loaded_is_explained(file, store):
    def load(name):
        raise UserError(f"no model {name}")

    desk = Desk(Project(file, "nothing", load=load))
    *_, last = desk.ask({"question": "How many?", "picture": first_question(store)}, "me")
    assert "no model nothing" in last and 'data-phase="failed"' in last


# -- what it costs to import -------------------------------------------------------------------------------------------


def test_the_command_line_does_not_import_gradio():
    code = (
        "import sys, insightv_core.cli as c; c.build_parser(); print('gradio' in sys.modules, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]


def test_nothing_is_loaded_from_elsewhere():
    here = FilePath(render.__file__).parent
    for name in ("style.css", "script.js"):
        addresses = re.findall(r"(?:https?:)?//[\w.]+\.\w+/?", (here / name).read_text())
        assert set(addresses) <= {"http://www.w3.org/"}


def test_steps_of_a_chain_in_one_reply_show_while_it_is_written():
    first, second = (write_step(Step(title, f"It is {title}.", "continue")) for title in ("one", "two"))
    turn = Turn(Question("q", "How many?", "", "", "chat"), Image.new("RGB", (9, 9)))
    turn.started = time.perf_counter()
    shown = []
    for text, done in ((first[:25], False), (first + "\n" + second[:30], False), (first + "\n" + second, True)):
        turn.hear(REASONING, Event("q", 0, 0, text, done))
        shown.append(render_chain(turn))
    assert [page.count("<li") for page in shown] == [1, 2, 2]
    assert "It is one." in shown[1] and shown[1].count("being written") == 1 and "being written" not in shown[2]
    assert "It is two." in shown[2] and [done for _, done, _ in turn.replies.values()] == [True, True]


def test_the_chat_names_the_agents_that_the_project_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("insightv_core.team.read_version", lambda name: ModelVersion(name, "b"))
    with open_store(tmp_path / "own.db", create=True) as store:
        for name in ("reason-1", "summary-1"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "base.json").write_text('{"name": "nano-base", "fingerprint": "b"}')
            add_model(store, ModelVersion(name, name), kind="adapter", base="b", folder=str(tmp_path / name), run=None)
    team = Project(tmp_path / "own.db").team()
    assert team.names() == ("reason-1 on nano-base", "summary-1 on nano-base") and team.style == CHAIN
    assert Project(tmp_path / "own.db", "nano-teacher").team().names() == ("nano-teacher", "nano-teacher")
