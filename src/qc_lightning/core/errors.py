"""The one error that a user's mistake raises."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    r"""A mistake that the user can fix: the message says in one line what was expected, what came and what to do.

    Commands print it without a traceback and exit with code 2.

    >>> UserError("got tensor([[0],\n[1]])")  # a value in it may have several lines
    UserError('got tensor([[0], [1]])')
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


@contextmanager
def reading(what: object, advice: str = "restore it or train again") -> Iterator[None]:
    """Wrap code that interprets a file's content: an unexpected content becomes a one-line `UserError`.

    Args:
        what: the file, or files, in words.
        advice: what to do.

    Raises:
        UserError: the content is not what the code expects.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{what} is damaged or was edited ({reason}): {advice}") from error
