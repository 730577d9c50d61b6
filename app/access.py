"""Who may do what: every function that a page can call names the role it needs, and checks it here."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app import render
from insightv_core.errors import UserError
from insightv_core.store.accounts import ADMIN, REVIEWER, ROLES, VIEWER, Account

__all__ = [
    "ADMIN", "REVIEWER", "ROLES", "VIEWER", "Account", "as_problem", "handler", "listener", "may", "reading",
]  # fmt: skip

KEY = "insightv.account"  # where a request carries who sent it
EVERYBODY = Account("", ADMIN)  # whoever opens a project without accounts


def account_of(request: Any) -> Account:
    """Return who sent a request, as the gate noted it; raise `UserError` for a request that did not pass the gate."""
    scope = getattr(getattr(request, "request", None) or request, "scope", {})
    account = scope.get(KEY)
    if not isinstance(account, Account):
        raise UserError("Log in first: reload the page.")
    return account


def may(account: Account, role: str) -> bool:
    """Tell whether an account may do what a role may."""
    return ROLES.index(account.role) >= ROLES.index(role)


def check(account: Account, role: str) -> None:
    """Raise `UserError` where an account may not do what a role may."""
    if not may(account, role):
        raise UserError(
            f"This needs the role {role}, and {account.name} is {account.role}: ask whoever keeps the project, "
            f"who can give it with insightv user role {shlex.quote(account.name)} {role}"
        )


def handler(role: str, work: Callable, explain: Callable[[str], Any] = render.render_problem) -> Callable:
    """Return `work(given, account)` as a function that a page can call, for accounts that may do what a role may.

    `explain` turns what the user can mend, a missing role included, into an answer of the kind that `work` returns.
    """
    from gradio import Request

    def answer(given, request: Request):
        try:
            account = account_of(request)
            check(account, role)
            return work(given, account)
        except UserError as error:
            return explain(str(error))

    return marked(answer, work, role)


def reading(role: str, work: Callable[[str], Any], explain: Callable[[str], Any] = render.render_problem) -> Callable:
    """Return `handler` for a function of a text alone, such as an address."""

    def asked(given, account: Account):
        return work(given if isinstance(given, str) else "")

    return handler(role, named(asked, work), explain)


def listener(role: str, work: Callable[[Mapping[str, Any], str], Iterator[str]]) -> Callable:
    """Return `work(payload, session)` as a listener to an event, for accounts that may do what a role may."""
    from gradio import EventData, Request

    def answer(event: EventData, request: Request) -> Iterator[str]:
        try:
            check(account_of(request), role)
        except UserError as error:
            yield render.render_problem(str(error))
            return
        data = event._data
        yield from work(data if isinstance(data, dict) else {}, str(request.session_hash))

    return marked(answer, work, role)


def as_problem(problem: str) -> dict[str, str]:
    """Return what is wrong as scripts read it."""
    return {"problem": problem}


def marked(function: Callable, work: Callable, role: str) -> Callable:
    """Return a function under the name of what it does, with the role that it needs."""
    function.role = role  # type: ignore[attr-defined]
    return named(function, work)


def named(function: Callable, work: Callable) -> Callable:
    """Return a function under the name of what it does; Gradio calls it by that, and reads its own parameters."""
    function.__name__, function.__doc__ = work.__name__, work.__doc__
    return function
