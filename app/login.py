"""The gate before the app: nothing of a project with accounts leaves, and nothing reaches it, without a login.

A project without accounts is open to whoever reaches the app, which listens on this machine alone unless asked.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import EVERYBODY, KEY
from insightv_core.errors import UserError
from insightv_core.store import Store, open_store
from insightv_core.store.accounts import (
    LOGIN_SECONDS,
    Account,
    begin_login,
    check_password,
    end_login,
    find_login,
    has_accounts,
)

LOGIN, LOGOUT, READY = "/login", "/logout", "/gradio_api/startup-events"
LONGEST_FORM = 10_000  # bytes
FREE_OF_PAIR, FREE = 5, 20  # wrong passwords before there is a wait
WAIT, LONGEST_WAIT = 30.0, 900.0  # seconds
FORGET = 3600.0  # seconds after which wrong passwords are forgotten
MOST_REMEMBERED = 10_000
HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}  # fmt: skip


@dataclass
class Attempts:
    """Wrong passwords by account, by address and by both, each with when the last one was."""

    seen: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, name: str, address: str, now: float) -> float:
        """Return how many seconds nobody may try this account from this address."""
        return max(
            last + min(WAIT * 2.0 ** min(count - free, 10), LONGEST_WAIT) - now if count >= free else 0.0
            for key, free in keys_of(name, address)
            for count, last in [self.seen.get(key, (0, now))]
        )

    def note(self, name: str, address: str, now: float) -> None:
        """Count a wrong password."""
        if len(self.seen) >= MOST_REMEMBERED:
            fresh = sorted(self.seen.items(), key=lambda each: each[1][1])[MOST_REMEMBERED // 2 :]
            self.seen = {key: value for key, value in fresh if now - value[1] < FORGET}
        for key, _ in keys_of(name, address):
            count, last = self.seen.get(key, (0, now))
            self.seen[key] = (count + 1 if now - last < FORGET else 1, now)

    def clear(self, name: str, address: str) -> None:
        """Forget the wrong passwords for an account from an address, as the right one was given."""
        self.seen.pop((fold(name), address), None)


def keys_of(name: str, address: str) -> list[tuple[tuple[str, str], int]]:
    """Return what wrong passwords are counted by, and how many are free."""
    return [((fold(name), address), FREE_OF_PAIR), ((fold(name), ""), FREE), (("", address), FREE)]


def fold(name: str) -> str:
    """Return a name as it is counted: by the account that it means, in any case of letters."""
    return " ".join(name.split()).casefold()[:100]


@dataclass(frozen=True)
class Door:
    """What the gate needs to know: the project, the styles of its page, and whether it may be open to everybody."""

    file: Path
    style: str
    may_be_open: bool = True
    attempts: Attempts = field(default_factory=Attempts)
    kept: threading.local = field(default_factory=threading.local)
    clock: Callable[[], float] = time.monotonic

    def enter(self, name: str, password: str, address: str) -> tuple[Account, str]:
        """Return account and secret of a new login.

        Raises `UserError` for a wrong password, and where one has to wait. Passwords are checked one after the other,
        so that many sent at once are counted as well.
        """
        with self.attempts.lock, open_store(self.file) as store:
            seconds = self.attempts.wait(name, address, self.clock())
            if seconds > 0:
                raise UserError(f"Too many wrong passwords. Wait {in_words(seconds)}, then try again.")
            account = check_password(store, name, password)
            if account is None:
                self.attempts.note(name, address, self.clock())
                raise UserError("Name or password is wrong: try again.")
            self.attempts.clear(name, address)
            return account, begin_login(store, account)

    def who(self, token: str | None) -> Account | None:
        """Return who sends a request; None where a login is needed."""
        store = self.reader()
        found = find_login(store, token) if token else None
        if found is None and self.may_be_open and not has_accounts(store):
            return EVERYBODY
        return found

    def reader(self) -> Store:
        """Return this thread's store, which stays open as every request asks it, until another file takes its place."""
        found = self.file.stat()
        mark = (found.st_dev, found.st_ino)
        if getattr(self.kept, "mark", None) != mark:
            self.kept.store, self.kept.mark = open_store(self.file), mark
        return self.kept.store

    def leave(self, token: str | None) -> None:
        """End a login."""
        with open_store(self.file) as store:
            if token:
                end_login(store, token)


def in_words(seconds: float) -> str:
    """Return a wait in words, rounded up.

    >>> in_words(29.2), in_words(61)
    ('30 s', '2 min')
    """
    return f"{int(-(-seconds // 1))} s" if seconds <= 60 else f"{int(-(-seconds // 60))} min"


def gate(app: ASGIApp, door: Door) -> ASGIApp:
    """Return the app behind the gate: a request goes on with its account noted, or is sent to the login."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            account = door.who(token_of(request))  # a look at two rows, less than a thread costs
            answer = await reply(request, door, account)
        except (UserError, OSError) as error:
            answer = JSONResponse({"detail": str(error)}, 503)
        if answer is None:
            scope[KEY] = account
            await app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    return guarded


async def reply(request: Request, door: Door, account: Account | None) -> Response | None:
    """Return what the gate itself answers; None where the request goes on to the app."""
    # Read from the request line: an address that is put together from it would depend on the header Host.
    path, asked = request.scope["path"].rstrip("/") or "/", query_of(request)
    if request.method not in ("GET", "HEAD") and not same_origin(request):
        return JSONResponse({"detail": "This was sent by another site."}, 403)
    if path == LOGIN:
        return await log_in(request, door, account)
    if path == LOGOUT:
        return await log_out(request, door)
    if account is not None or path == READY:
        return None
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
        query = quote(asked, safe="=&+%-._~") if path == "/" else ""
        return RedirectResponse(f"{LOGIN}?{query}" if query else LOGIN, 303, HEADERS)
    return JSONResponse({"detail": "Log in first."}, 401, HEADERS)


def same_origin(request: Request) -> bool:
    """Tell whether a request comes from a page of the app, as far as the browser says."""
    origin = request.headers.get("origin")
    hosts = (request.headers.get("host"), request.headers.get("x-forwarded-host"))
    return origin is None or urlsplit(origin).netloc in hosts


def query_of(request: Request) -> str:
    """Return the query of a request as it was sent."""
    return request.scope["query_string"].decode("latin-1")


def cookie_name(request: Request) -> str:
    """Return the name of the login in the browser: ports share their cookies, so each app has its own."""
    return f"insightv-{(request.scope.get('server') or ('', 0))[1]}"


def token_of(request: Request) -> str | None:
    """Return the secret that a request carries."""
    return request.cookies.get(cookie_name(request))


async def log_in(request: Request, door: Door, account: Account | None) -> Response:
    """Show the login, or log in; after it the page opens that was asked for."""
    if request.method != "POST":
        asked = query_of(request)
        return home(asked) if account else HTMLResponse(render_login(door, asked), 200, HEADERS)
    form = await read_form(request)
    name, password, query = (form.get(key, "") for key in ("name", "password", "query"))
    address = request.client.host if request.client else ""
    try:
        _, token = await run_in_threadpool(door.enter, name, password, address)
    except UserError as error:
        return HTMLResponse(render_login(door, query, name, str(error)), 403, HEADERS)
    answer = home(query)
    answer.set_cookie(
        cookie_name(request), token, max_age=int(LOGIN_SECONDS), httponly=True, samesite="lax",
        secure=request.scope.get("scheme") == "https",
    )  # fmt: skip
    return answer


async def log_out(request: Request, door: Door) -> Response:
    """End the login, by a form alone: a link from elsewhere cannot."""
    if request.method != "POST":
        return home("")
    await run_in_threadpool(door.leave, token_of(request))
    answer = RedirectResponse(LOGIN, 303, HEADERS)
    answer.delete_cookie(cookie_name(request))
    return answer


def home(query: str) -> RedirectResponse:
    """Return the way to a page of the app; whatever the query says, it leads nowhere else."""
    return RedirectResponse(f"/?{quote(query, safe='=&+%-._~')}" if query else "/", 303, HEADERS)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a short form; nothing of a long one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()}


def render_login(door: Door, query: str = "", name: str = "", problem: str = "") -> str:
    """Return the page that asks for name and password."""
    said = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    if not door.may_be_open:
        said += '<p class="soft">Accounts are made in a terminal of the machine: insightv user add NAME</p>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>Log in · Insight-V Workbench</title><style>{door.style}</style></head><body>"
        '<script>document.body.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches)</script>'
        f'<main class="view login"><h1>Insight-V Workbench</h1><p class="soft">{escape(door.file.name)}</p>{said}'
        f'<form method="post" action="{LOGIN}"><input type="hidden" name="query" value="{escape(query)}">'
        '<label for="name">Name</label><input id="name" name="name" autocomplete="username" required maxlength="40" '
        f'value="{escape(name)}"{"" if name else " autofocus"}><label for="password">Password</label><input '
        f'id="password" name="password" type="password" autocomplete="current-password" required maxlength="200"'
        f'{" autofocus" if name else ""}><button class="main">Log in</button></form></main></body></html>'
    )
