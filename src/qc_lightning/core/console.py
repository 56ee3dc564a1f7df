"""Escape what a console cannot print; by default Python would abort the command there, after its work."""

import io
import sys


def escape_unprintable() -> None:
    r"""Print characters that standard output cannot encode as `\u65e5`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.errors == "strict" or stream.encoding.lower() != "utf-8"):
            stream.reconfigure(errors="backslashreplace")
