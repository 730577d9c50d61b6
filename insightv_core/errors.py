"""Errors that are the user's to mend: shown as one line, without a traceback."""


class UserError(Exception):
    """Say what was wrong, why, and what to do next; the command line prints the message alone."""
