"""Read the log of a service: `qc-lightning log line-3.sqlite verify`."""

from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import LogConfig


def log(config: LogConfig) -> None:
    """Verify, export or replay a log, or extract labelled photos from it."""
    from qc_lightning.core.room import check_room
    from qc_lightning.inference import log_file

    path, output = Path(config.file).expanduser(), Path(config.output or "").expanduser()
    if config.action in ("export", "dataset"):
        check_room(output.parent)
    if config.action == "export":
        from qc_lightning.core.csv_files import Marks
        from qc_lightning.service.log_export import export_log

        count = export_log(path, output, Marks(config.separator, config.decimal))
        print(f"{count} rows: {config.output}")
    elif config.action == "verify":
        count, digest, fault = log_file.first_fault(path)
        print(f"{path}: {count} rows as they were written, last digest {digest or 'none'}")
        if fault:
            print(fault)
            raise SystemExit(1)
        if config.digest and not log_file.has_digest(path, config.digest.strip()):
            print(f"no row has the digest {config.digest}: rows were cut off or written again")
            raise SystemExit(1)
    elif config.action == "dataset":
        from qc_lightning.inference.log_dataset import labelled_photos

        beside = Path(config.beside).expanduser() if config.beside else None
        print(labelled_photos(path, config.kept, output, beside))
    else:
        from qc_lightning.inference.log_replay import replay

        if replay(path, str(config.model), config.kept):
            raise SystemExit(1)


def main() -> None:
    """Run the command."""
    run_plain(log, LogConfig, "file action output")


if __name__ == "__main__":
    main()
