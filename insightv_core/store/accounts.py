"""Accounts of a project: names with a role and a password, and who is logged in.

An account's name is a reviewer's name, so what an account votes stands under it. Passwords are kept as Argon2 hashes,
logins as the SHA-256 of what the browser holds.
"""

import functools
import hashlib
import secrets
import time
from dataclasses import dataclass

from insightv_core.errors import UserError
from insightv_core.store.project import Store, storable
from insightv_core.store.reviews import add_reviewer

VIEWER, REVIEWER, ADMIN = "viewer", "reviewer", "admin"
ROLES = (VIEWER, REVIEWER, ADMIN)  # each may do what those before it may
SHORTEST, LONGEST = 8, 200  # characters of a password
LOGIN_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Account:
    """Who is at work, and as what."""

    name: str
    role: str


def add_account(store: Store, name: str, role: str, password: str) -> Account:
    """Save a new account; a reviewer of that name, in any case of letters, becomes it."""
    check_role(role)
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"the password has {len(password)} characters: take {SHORTEST} to {LONGEST}")
    name = add_reviewer(store, name)
    hashed = hasher().hash(password)
    with store.transaction():
        added = store.db.conn.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
            storable(name, role, hashed, time.time()),
        ).rowcount
    if added < 1:
        raise UserError(f"there is an account {name!r} already: remove it first to give it another password")
    return Account(name, role)


def list_accounts(store: Store) -> list[Account]:
    """Return every account, by name."""
    rows = [Account(*row) for row in store.tuples("SELECT name, role FROM accounts")]
    return sorted(rows, key=lambda account: account.name.casefold())


def has_accounts(store: Store) -> bool:
    """Tell whether the project has an account at all, so that whoever opens it must log in."""
    return bool(store.value("SELECT EXISTS (SELECT 1 FROM accounts)"))


def find_account(store: Store, name: str) -> Account:
    """Return the account of that name in any case of letters; raise `UserError` where there is none."""
    wanted = " ".join(name.split()).casefold()
    for account in list_accounts(store):
        if account.name.casefold() == wanted:
            return account
    raise UserError(f"there is no account {name!r} in {store.file}: `insightv user list` shows those that there are")


def remove_account(store: Store, name: str) -> Account:
    """Remove an account and log it out; what it voted stays."""
    account = find_account(store, name)
    with store.transaction():
        store.db.conn.execute("DELETE FROM accounts WHERE name = ?", [account.name])
    return account


def set_role(store: Store, name: str, role: str) -> Account:
    """Give an account another role, from its next click on."""
    check_role(role)
    account = find_account(store, name)
    with store.transaction():
        store.db.conn.execute("UPDATE accounts SET role = ? WHERE name = ?", [role, account.name])
    return Account(account.name, role)


def check_role(role: str) -> None:
    """Raise `UserError` for a role that there is none of."""
    if role not in ROLES:
        raise UserError(f"{role!r} is no role: take {', '.join(ROLES)}")


# -- logging in --------------------------------------------------------------------------------------------------------


def check_password(store: Store, name: str, password: str) -> Account | None:
    """Return the account that name and password belong to, None where there is none; both take as long."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        account = find_account(store, name)
    except UserError:
        account = None
    hashed = store.value("SELECT password FROM accounts WHERE name = ?", [account.name]) if account else no_password()
    try:
        hasher().verify(hashed, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return None
    return account


@functools.cache
def hasher():
    """Return the hasher of passwords: Argon2id with the library's own costs."""
    from argon2 import PasswordHasher

    return PasswordHasher()


@functools.cache
def no_password() -> str:
    """Return a hash that no password has, checked in place of that of an account that there is none of."""
    return hasher().hash(secrets.token_hex(32))


def begin_login(store: Store, account: Account) -> str:
    """Save that an account is logged in, and return the secret by which its browser says so."""
    token, now = secrets.token_urlsafe(32), time.time()
    with store.transaction():
        store.db.conn.execute("DELETE FROM logins WHERE expires <= ?", [now])
        store.db.conn.execute("INSERT INTO logins VALUES (?, ?, ?)", (digest(token), account.name, now + LOGIN_SECONDS))
    return token


def find_login(store: Store, token: str) -> Account | None:
    """Return the account of a login with the role that it has now, None where it is over."""
    rows = store.tuples(
        "SELECT name, role FROM logins JOIN accounts ON accounts.name = account WHERE token = ? AND expires > ?",
        [digest(token), time.time()],
    )
    return Account(*rows[0]) if rows else None


def end_login(store: Store, token: str) -> None:
    """Forget a login."""
    with store.transaction():
        store.db.conn.execute("DELETE FROM logins WHERE token = ?", [digest(token)])


def digest(token: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
