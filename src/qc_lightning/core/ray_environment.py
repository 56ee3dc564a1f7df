"""Environment variables that Ray reads on import, set before it."""

import os
from pathlib import Path


def prepare_ray() -> None:
    """Disable usage statistics and automatic connection, and use a token if there is one.

    Variables that the user has set are kept.

    By Ray's announcement local clusters ask for a token by default since 2.59, all from 2.61 on. A driver reads its
    token of its own accord only when it starts a cluster or finds one on its machine; with `<head>:6379` it needs
    RAY_AUTH_MODE, and before Ray is imported.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # otherwise a thread may reconnect while the process ends
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # otherwise output of its C++ part mixes with the messages
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def has_token() -> bool:
    """Whether a token is available in one of the places where Ray looks."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
