"""Accounts and roles: what is kept of a password, who gets in, and what each role is refused on the server."""

import hashlib
import io
import json
import threading
import time
from contextlib import contextmanager

import pytest
from app_project import SlowVLM
from review_project import build_project, pair_ids
from starlette.testclient import TestClient

from app.access import KEY, account_of
from app.login import FREE, FREE_OF_PAIR, Attempts, Door
from app.main import build_app, serve, server_parts
from app.pages import Project
from app.uploads import Uploads
from insightv_core.cli import main
from insightv_core.errors import UserError
from insightv_core.store import accounts, open_store
from insightv_core.store.accounts import ADMIN, REVIEWER, ROLES, VIEWER, Account, add_account, list_accounts
from insightv_core.store.reviews import load_events

PASSWORD = "correct horse"
NAMES = {VIEWER: "Vic", REVIEWER: "Rea", ADMIN: "Ada"}
# Every function that a page can call, with the role that it needs; a new one is to be named here.
NEEDED = {
    "who": VIEWER, "overview.show": VIEWER, "overview.import_demo": ADMIN, "browse.show": VIEWER,
    "review.show": VIEWER, "review.enter": REVIEWER, "review.deal": REVIEWER, "review.act": REVIEWER,
    "review.take_back": REVIEWER, "review.edit": REVIEWER, "review.view": VIEWER, "chat.show": VIEWER,
    "chat.upload": REVIEWER, "chat.history": VIEWER, "chat.forget": REVIEWER, "chat.restore": REVIEWER,
    "runs.show": VIEWER, "runs.go_on": ADMIN, "runs.stop": ADMIN, "runs.begin": ADMIN, "results.show": VIEWER,
    "results.measure": VIEWER, "import.show": VIEWER, "import.begin": ADMIN, "import.halt": ADMIN,
    "export.show": VIEWER, "export.write": ADMIN, "export.halt": ADMIN, "event.ask": REVIEWER,
    "event.judge_again": REVIEWER, "event.stop": REVIEWER,
}  # fmt: skip
UNGUARDED = {"/login", "/login/", "/gradio_api/startup-events"}  # what is served without a login
CALL = "/gradio_api/component_server"


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """Hashes that are made in no time."""
    from argon2 import PasswordHasher

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "hasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        accounts.no_password.cache_clear()
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    file = build_project(tmp_path_factory.mktemp("guarded"), 6)
    with open_store(file) as store:
        for role, name in NAMES.items():
            add_account(store, name, role, PASSWORD)
    return Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0))


@pytest.fixture(scope="module")
def app(project):
    return build_app(project, Uploads())


@contextmanager
def entered(app, project, name: str | None = None, **options):
    """A browser, logged in under that name."""
    from gradio.routes import App

    served = App.create_app(app, app_kwargs=server_parts(project, Uploads(), True))
    with TestClient(served, base_url="http://testserver", follow_redirects=False, **options) as client:
        if name:
            assert log_in(client, name).status_code == 303
        yield client


def log_in(client, name: str, password: str = PASSWORD, **more):
    return client.post("/login", data={"name": name, "password": password, **more})


def test_every_route_of_our_own_that_takes_something_names_its_role(project):
    routes = server_parts(project, Uploads(), True)["routes"]
    takes = {route.path: getattr(route.endpoint, "role", None) for route in routes if route.methods - {"GET", "HEAD"}}
    assert takes == {"/import/upload": ADMIN}


def handlers(app) -> dict[str, tuple[int | None, object]]:
    """Return every function that a client can call, by page and name."""
    found: dict[str, tuple[int | None, object]] = {}
    for block in app.blocks.values():
        for function in getattr(block, "server_fns", []):
            page = (getattr(block.parent, "elem_id", None) or "").removeprefix("page-")
            found[f"{page}.{function.__name__}".removeprefix(".")] = (block._id, function)
    for dependency in app.fns.values():
        found[f"event.{dependency.name}"] = (None, dependency.fn)
    return found


def call(client, app, name: str, given="?run=none"):
    block, function = handlers(app)[name]
    sent = {"component_id": block, "fn_name": function.__name__, "session_hash": "s", "data": given}
    return client.post(CALL, json=sent)


def contents(file) -> str:
    with open_store(file) as store:
        lines = [line for line in store.db.conn.iterdump() if 'INTO "logins"' not in line]
    return hashlib.sha256("\n".join(lines).encode(errors="replace")).hexdigest()


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_of_a_password_and_a_login_only_hashes_are_kept(project):
    with open_store(project.file) as store:
        account = accounts.check_password(store, " aDA ", PASSWORD)
        assert account == Account("Ada", ADMIN)
        token = accounts.begin_login(store, account)
        assert accounts.find_login(store, token) == account
        store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = store.tuples("SELECT password FROM accounts")
    kept = project.file.read_bytes()
    assert PASSWORD.encode() not in kept and token.encode() not in kept
    assert len({row[0] for row in rows}) == len(NAMES) and all(row[0].startswith("$argon2id$") for row in rows)


@pytest.mark.parametrize("name, password", [("Ada", PASSWORD + "x"), ("Ada", ""), ("nobody", PASSWORD), ("", "")])
def test_a_wrong_name_or_password_gets_nobody_in(project, name, password):
    with open_store(project.file) as store:
        assert accounts.check_password(store, name, password) is None


def test_a_login_ends_by_itself_with_the_account_and_when_it_is_left(tmp_path, monkeypatch):
    with open_store(tmp_path / "a.db", create=True) as store:
        tokens = []
        for name in ("Ana", "Bo", "Cy"):
            tokens.append(accounts.begin_login(store, add_account(store, name, VIEWER, PASSWORD)))
        accounts.end_login(store, tokens[0])
        accounts.remove_account(store, "bo")
        assert [accounts.find_login(store, token) for token in tokens] == [None, None, Account("Cy", VIEWER)]
        accounts.set_role(store, "cy", ADMIN)
        assert accounts.find_login(store, tokens[2]) == Account("Cy", ADMIN)
        later = accounts.time.time() + accounts.LOGIN_SECONDS + 1
        monkeypatch.setattr(accounts.time, "time", lambda: later)
        assert accounts.find_login(store, tokens[2]) is None


def test_an_account_goes_by_the_name_of_the_reviewer_that_it_was(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        accounts.add_reviewer(store, "Ana Lima")
        assert add_account(store, " ana  lima", REVIEWER, PASSWORD) == Account("Ana Lima", REVIEWER)
        for name, role, password in (("ANA LIMA", ADMIN, PASSWORD), ("Bo", "root", PASSWORD), ("Bo", ADMIN, "short")):
            with pytest.raises(UserError):
                add_account(store, name, role, password)
        assert list_accounts(store) == [Account("Ana Lima", REVIEWER)]


# -- the command -------------------------------------------------------------------------------------------------------


def run_user(monkeypatch, capsys, *arguments: str, typed: str = "") -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["user", *arguments]) == 0
    return capsys.readouterr().out


def test_accounts_are_added_listed_changed_and_removed_in_a_terminal(tmp_path, monkeypatch, capsys):
    where = ["--project", str(tmp_path / "a.db")]
    said = run_user(monkeypatch, capsys, "add", "Ana", "--role", "reviewer", *where, typed=f"{PASSWORD}\n")
    assert "Ana is reviewer" in said and "no account is admin" in said
    assert "no account is admin" not in run_user(monkeypatch, capsys, "role", "ana", "admin", *where)
    found = json.loads(run_user(monkeypatch, capsys, "list", "--json", *where))
    assert found["accounts"] == [{"name": "Ana", "role": "admin"}]
    with open_store(tmp_path / "a.db") as store:
        assert accounts.check_password(store, "Ana", PASSWORD)
    assert "no login" in run_user(monkeypatch, capsys, "remove", "Ana", *where)
    assert "no account" in run_user(monkeypatch, capsys, "list", *where)
    assert main(["user", "remove", "Ana", *where]) == 1 and "no account 'Ana'" in capsys.readouterr().err


def test_a_password_is_never_an_argument(tmp_path, capsys):
    for arguments in (["add", "Ana", PASSWORD], ["add", "Ana", "--password", PASSWORD]):
        with pytest.raises(SystemExit):
            main(["user", *arguments, "--project", str(tmp_path / "a.db")])


# -- guessing ----------------------------------------------------------------------------------------------------------


def try_all(attempts: Attempts, tries, now: float) -> None:
    for name, address in tries:
        attempts.note(name, address, now)


@pytest.mark.parametrize(
    "tries, free, waits",
    [
        ([("Ana", "here")] * FREE_OF_PAIR, [("Ana", "there"), ("Bo", "here")], [("ana ", "here")]),
        ([("Ana", str(each)) for each in range(FREE)], [("Bo", "0")], [("Ana", "elsewhere")]),
        ([(str(each), "here") for each in range(FREE)], [("0", "there")], [("Ana", "here")]),
    ],
)
def test_wrong_passwords_are_counted_by_account_by_address_and_by_both(tries, free, waits):
    attempts = Attempts()
    try_all(attempts, tries[:-1], 0.0)
    assert all(attempts.wait(*each, 0.0) <= 0 for each in (*free, *waits))
    try_all(attempts, tries[-1:], 0.0)
    assert all(attempts.wait(*each, 0.0) <= 0 for each in free)
    assert all(attempts.wait(*each, 0.0) == 30 and attempts.wait(*each, 31.0) <= 0 for each in waits)
    try_all(attempts, tries[-1:], 31.0)
    assert attempts.wait(*waits[0], 31.0) == 60
    try_all(attempts, tries * 3, 31.0)
    assert attempts.wait(*waits[0], 31.0) == 900
    try_all(attempts, tries[-1:], 31.0 + 3600)
    assert attempts.wait(*waits[0], 31.0 + 3600) <= 0


def test_names_without_end_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("app.login.MOST_REMEMBERED", 100)
    attempts = Attempts()
    try_all(attempts, [(str(each), str(each)) for each in range(500)], 0.0)
    assert len(attempts.seen) <= 103


def test_whoever_guesses_has_to_wait_even_with_the_right_password_and_is_told_how_long(project, monkeypatch):
    now = [0.0]
    asked = []
    door = Door(project.file, "", clock=lambda: now[0])

    def check(store, name, password):
        asked.append(password)
        time.sleep(0.02)
        return Account("Ada", ADMIN) if password == PASSWORD else None

    monkeypatch.setattr("app.login.check_password", check)

    def guess(password):
        with pytest.raises(UserError) as caught:
            door.enter("Ada", password, "here")
        return str(caught.value)

    together = [threading.Thread(target=guess, args=("wrong",)) for _ in range(3 * FREE_OF_PAIR)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(asked) == FREE_OF_PAIR
    assert "Wait 30 s" in guess(PASSWORD) and len(asked) == FREE_OF_PAIR
    now[0] = 30.5
    assert door.enter("Ada", PASSWORD, "here")[0] == Account("Ada", ADMIN)
    assert "wrong" in guess("wrong again")


# -- the gate ----------------------------------------------------------------------------------------------------------


def test_without_a_login_nothing_of_the_project_leaves(app, project):
    with open_store(project.file) as store:
        picture = next(store.questions(limit=1)).image
    with entered(app, project) as client:
        page = client.get("/?tab=runs&x=%3Cb%3E", headers={"accept": "text/html"})
        assert page.status_code == 303 and page.headers["location"] == "/login?tab=runs&x=%3Cb%3E"
        paths = {getattr(route, "path", "") for route in client.app.routes} - UNGUARDED
        assert {"/config", "/theme.css", "/picture/{sha256}"} <= paths
        calls = [f"/gradio_api/{name}" for name in ("info", "queue/data", "queue/join", "upload", "runs", "user")]
        for path in [*paths, *calls, f"/picture/{picture}", f"/gradio_api/file={project.file}", "//config"]:
            assert client.get(path.replace("{", "").replace("}", "")).status_code in (401, 303), path
        for name, (block, _) in handlers(app).items():
            assert block is None or call(client, app, name).status_code == 401, name
        for host in ("x/gradio_api/startup-events?", "x/login?", "x/login#"):
            assert client.get("/config", headers={"host": host}).status_code == 401
        client.cookies.set("insightv-80", "made up")
        assert client.get("/config").status_code == 401
        shown = client.get("/login?next=%22%3E%3Cscript%3Ealert(1)")
        assert shown.status_code == 200 and "<script>alert" not in shown.text


def test_after_the_login_the_page_opens_that_was_asked_for_and_no_other_site(app, project):
    with entered(app, project) as client:
        assert "Name or password is wrong" in log_in(client, "Ada", "wrong", query="tab=runs").text
        assert client.get("/config").status_code == 401
        answer = log_in(client, "ada", query="tab=runs")
        assert answer.headers["location"] == "/?tab=runs"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and cookie.startswith("insightv-80=")
        assert client.get("/config").status_code == 200
        for query in ("//evil.example", "\r\nSet-Cookie: a=b", "https://evil.example"):
            moved = log_in(client, "Ada", query=query)
            assert moved.headers["location"].startswith("/?") and "\n" not in moved.headers["location"]
        assert client.post("/logout", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.get("/logout").status_code == 303 and client.get("/config").status_code == 200
        held = client.cookies["insightv-80"]
        assert client.post("/logout").headers["location"] == "/login"
        client.cookies.set("insightv-80", held)
        assert client.get("/config").status_code == 401


def test_another_site_cannot_press_a_button_here(app, project):
    with entered(app, project, "Ada") as client:
        foreign = {"origin": "http://evil.example"}
        assert client.post(CALL, json={}, headers=foreign).status_code == 403
        assert client.post("/login", data={}, headers=foreign).status_code == 403


def test_a_project_without_accounts_is_open_until_it_has_one(tmp_path, app):
    file = tmp_path / "a.db"
    open_store(file, create=True).close()
    project = Project(file)
    with entered(app, project) as client:
        assert call(client, app, "who", "").json() == {"name": "", "role": ADMIN}
        with open_store(file) as store:
            add_account(store, "Ana", VIEWER, PASSWORD)
        assert client.get("/config").status_code == 401
        with open_store(tmp_path / "b.db", create=True) as store:
            store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for part in tmp_path.glob("a.db*"):
            part.unlink()
        assert client.get("/config").status_code == 503
        (tmp_path / "b.db").rename(file)
        assert client.get("/config").status_code == 200


def test_other_machines_are_let_in_only_with_accounts_or_on_request(tmp_path, project, monkeypatch, capsys):
    from gradio import Blocks

    monkeypatch.setattr(Blocks, "launch", lambda self, **options: (None, options["server_name"], None))
    empty = Project(tmp_path / "a.db")
    with pytest.raises(UserError, match="insightv user add NAME --role admin"):
        serve(empty, host="0.0.0.0", wait=False)
    assert serve(empty, host="0.0.0.0", open_to_all=True, wait=False)[1] == "0.0.0.0"
    assert serve(project, host="0.0.0.0", wait=False)[1] == "0.0.0.0"
    assert main(["app", str(empty.file), "--host", "0.0.0.0", "--no-browser"]) == 1
    assert "--open-to-all" in capsys.readouterr().err
    door = Door(empty.file, "", may_be_open=False)
    assert door.who(None) is None and Door(empty.file, "").who(None).role == ADMIN


# -- roles -------------------------------------------------------------------------------------------------------------


def test_every_function_that_a_page_can_call_names_its_role(app):
    found = {name: getattr(function, "role", None) for name, (_, function) in handlers(app).items()}
    assert found == NEEDED


@pytest.mark.parametrize("role", [VIEWER, REVIEWER])
def test_every_function_refuses_the_roles_below_its_own_and_changes_nothing(app, project, role):
    before = contents(project.file)
    refused = [name for name, needed in NEEDED.items() if ROLES.index(needed) > ROLES.index(role)]
    assert refused
    with entered(app, project, NAMES[role]) as client:
        for name in refused:
            if name.startswith("event."):
                said = "".join(handlers(app)[name][1](Sent(), Asked(Account(NAMES[role], role))))
            else:
                said = call(client, app, name, GIVEN.get(name.split(".")[0], "?run=none")).text
            assert f"needs the role {NEEDED[name]}" in said and NAMES[role] in said, name
        for name in NEEDED.keys() - set(refused):
            if not name.startswith(("event.", "review.", "chat.upload")):
                assert "needs the role" not in call(client, app, name).text, name
    assert contents(project.file) == before


GIVEN = {"review": {"reviewer": "Ada", "pair": "none", "event": "skip", "token": "t" * 32}}


class Sent:
    """An event with nothing to it."""

    _data: dict = {}


class Asked:
    """A request as Gradio hands it to a listener."""

    session_hash = "s"

    def __init__(self, account):
        self.request = type("Inner", (), {"scope": {KEY: account}})()


def test_a_request_that_passed_no_gate_may_nothing(app):
    stranger = type("Inner", (), {"scope": {}})()
    for request in (stranger, None, Asked("Ada")):
        with pytest.raises(UserError, match="Log in"):
            account_of(request)
    for name, (block, function) in handlers(app).items():
        said = "".join(function(Sent(), stranger)) if block is None else str(function("?", stranger))
        assert "Log in first" in said, name


def test_another_role_counts_from_the_next_click_on(app, project):
    with entered(app, project, "Rea") as client:
        assert "needs the role" in call(client, app, "runs.stop").text
        with open_store(project.file) as store:
            accounts.set_role(store, "Rea", ADMIN)
        assert "no run" in call(client, app, "runs.stop").text
        with open_store(project.file) as store:
            accounts.set_role(store, "Rea", REVIEWER)


def test_whoever_is_logged_in_votes_under_the_own_name(app, project):
    with open_store(project.file) as store:
        pair = pair_ids(store)[0]
    vote = {"reviewer": "Ada", "pair": pair, "event": "vote", "choice": "1", "token": "a" * 32}
    with entered(app, project, "Rea") as client:
        assert "reveal" in call(client, app, "review.act", vote).json()
        assert call(client, app, "review.enter", "Ada").json() == {"reviewer": "Rea"}
        assert "problem" in call(client, app, "review.act", ["not", "an", "object"]).json()
    with open_store(project.file) as store:
        assert [event.reviewer for event in load_events(store)] == ["Rea"]
