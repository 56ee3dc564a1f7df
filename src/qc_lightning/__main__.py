"""`qc-lightning <command> [path] [key=value ...]`, also as `python -m qc_lightning`."""

import sys
from importlib import import_module


def main() -> None:
    """Run the command that the first word names; without one, list the commands."""
    from qc_lightning.cli.commands import COMMANDS

    words = sys.argv[1:]
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    name = words[0].replace("-", "_") if words else "--help"
    if name in COMMANDS:
        # the name is kept: it marks a call as qc-lightning <name>
        sys.argv = [sys.argv[0], *([] if COMMANDS[name].plain else [name]), *words[1:]]
        import_module(f"qc_lightning.{name}").main()
        return
    if words and words[0] not in ("-h", "--help"):
        from qc_lightning.core.suggestions import nearest

        near = nearest(name, list(COMMANDS)) or "; qc-lightning without a command lists them"
        print(f"error: there is no command '{words[0]}'{near}", file=sys.stderr)
        raise SystemExit(2)
    from qc_lightning.cli.exit_codes import show
    from qc_lightning.cli.help import overview

    show(overview())


if __name__ == "__main__":
    main()
