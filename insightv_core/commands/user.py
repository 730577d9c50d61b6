"""`insightv user`: who may open a project in the app, and as what."""

import argparse
import getpass
import sys
from dataclasses import asdict

from insightv_core.commands.common import add_command, add_project_options, open_project, print_result
from insightv_core.errors import UserError
from insightv_core.store import Store
from insightv_core.store.accounts import (
    ADMIN,
    REVIEWER,
    ROLES,
    Account,
    add_account,
    list_accounts,
    remove_account,
    set_role,
)

MAY = "a viewer reads, a reviewer also votes, edits and chats, an admin also starts runs, imports and exports"


def add_user_command(commands) -> None:
    """Add `insightv user` and its actions."""
    parser = add_command(
        commands, "user", run_list, f"accounts of the app: with one or more, it asks for a login; {MAY}",
        "insightv user add Ana --role admin",
    )  # fmt: skip
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = add_command(
        actions, "add", run_add, "add an account; its password is asked for, or read from standard input",
        "insightv user add Ana --role reviewer",
    )  # fmt: skip
    add.add_argument("name", metavar="NAME", help="as votes will carry it")
    add.add_argument("--role", choices=ROLES, default=REVIEWER, help=f"{MAY} (%(default)s)")
    listed = add_command(actions, "list", run_list, "list the accounts with their roles", "insightv user list")
    remove = add_command(
        actions, "remove", run_remove, "remove an account and log it out; its votes stay", "insightv user remove Ana"
    )
    remove.add_argument("name", metavar="NAME")
    role = add_command(actions, "role", run_role, "give an account another role", "insightv user role Ana viewer")
    role.add_argument("name", metavar="NAME")
    role.add_argument("role", choices=ROLES)
    for action in (add, listed, remove, role):
        add_project_options(action)


def run_add(options: argparse.Namespace) -> int:
    """Add an account."""
    with open_project(options, create=True) as store:
        account = add_account(store, options.name, options.role, read_password())
        report(options, store, f"{account.name} is {account.role} in {store.file}", account)
    return 0


def read_password() -> str:
    """Return the password that is typed twice, or the first line of standard input where nobody types."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise UserError("the two passwords differ: run the command again")
    return password


def run_list(options: argparse.Namespace) -> int:
    """List the accounts."""
    with open_project(options) as store:
        accounts = list_accounts(store)
        width = max((len(account.name) for account in accounts), default=0)
        lines = [f"{account.name:{width}}  {account.role}" for account in accounts]
        words = "\n".join(lines) or f"{store.file} has no account: whoever opens the app may do anything"
        found = {"project": str(store.file), "accounts": [asdict(account) for account in accounts]}
        print_result(options, found, words)
    return 0


def run_remove(options: argparse.Namespace) -> int:
    """Remove an account."""
    with open_project(options) as store:
        account = remove_account(store, options.name)
        report(options, store, f"{account.name} is no account of {store.file} any more", account)
    return 0


def run_role(options: argparse.Namespace) -> int:
    """Give an account another role."""
    with open_project(options) as store:
        account = set_role(store, options.name, options.role)
        report(options, store, f"{account.name} is {account.role} in {store.file}", account)
    return 0


def report(options: argparse.Namespace, store: Store, words: str, account: Account) -> None:
    """Print what was done, and what it leaves the project with."""
    roles = [each.role for each in list_accounts(store)]
    if not roles:
        words += "\nno account is left: the app asks for no login"
    elif ADMIN not in roles:
        words += "\nno account is admin: runs, imports and exports can be started in a terminal only"
    print_result(options, {"project": str(store.file), "account": asdict(account), "accounts": len(roles)}, words)
