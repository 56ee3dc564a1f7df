"""The one error a user's mistake raises."""


class UserError(Exception):
    """Something the user can mend: the message says in one line what was expected, what came and what to do.

    Commands print it without a traceback and exit with code 2.
    """
