"""What a console cannot print is escaped: by default Python ends a command there, after its work."""

import io
import sys


def escape_unprintable() -> None:
    r"""Have what the encoding of standard output lacks, or what is no text, printed as `\u65e5`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.errors == "strict" or stream.encoding.lower() != "utf-8"):
            stream.reconfigure(errors="backslashreplace")
