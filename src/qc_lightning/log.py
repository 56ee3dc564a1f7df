"""Read the log of a service: `qc-lightning log line-3.sqlite verify`."""

from itertools import islice
from pathlib import Path

from qc_lightning.cli.plain import run_plain
from qc_lightning.config.serving import LogConfig

_AT_ONCE = 1000  # rows

HELP = """\
Read the record of every verdict that `qc-lightning serve log=line-3.sqlite` keeps, while it serves or later.

  qc-lightning log line-3.sqlite verify                              is every row as it was written?
  qc-lightning log line-3.sqlite export line-3.csv separator=';' decimal=','     as a German Excel opens it
  qc-lightning log line-3.sqlite replay model=inspector.onnx         the photos that were kept, the same verdicts?
  qc-lightning log line-3.sqlite dataset corrected/ beside=outputs/<date>/<time>/split.csv
  qc-lightning train data.manifest=corrected/labels.csv

dataset copies the photos whose verdict a person gave, a folder for each class, and lists them in labels.csv after the
photos of the training so far, whose validation and test part stay as they are.

verify prints the last digest: kept elsewhere, it also shows later that no rows were cut off at the end. Exit codes: 0
all is well; 1 a row is not as it was written, or a verdict differs; 2 a mistake, said in one line."""


def log(config: LogConfig) -> None:
    """Check, export or replay a log, or take labelled photos out of it."""
    from qc_lightning.inference import log_file

    path = Path(config.file)
    if config.action == "export":
        from qc_lightning.core.atomic import replacing
        from qc_lightning.service.sinks.files import csv_sink

        count = 0
        with replacing(Path(str(config.output)).expanduser()) as temporary:
            sink = csv_sink(temporary, config.separator, config.decimal)
            found = log_file.query(path)
            while rows := list(islice(found, _AT_ONCE)):
                sink.deliver(rows)
                count += len(rows)
        print(f"{count} rows: {config.output}")
    elif config.action == "verify":
        count, digest, fault = log_file.first_fault(path)
        print(f"{path}: {count} rows as they were written, last digest {digest or 'none'}")
        if fault:
            print(fault)
            raise SystemExit(1)
    elif config.action == "dataset":
        from qc_lightning.inference.log_dataset import labelled_photos

        beside = Path(config.beside).expanduser() if config.beside else None
        print(labelled_photos(path, config.kept, Path(str(config.output)).expanduser(), beside))
    else:
        _replay(path, str(config.model), config.kept)


def _replay(path: Path, model: str, photos: Path) -> None:
    from qc_lightning.core.progress import counted
    from qc_lightning.inference.exported import ExportedInspector
    from qc_lightning.inference.log_file import query
    from qc_lightning.inference.sources import find_photos

    inspector = ExportedInspector.load(model, threads=1)
    inspector.verify_golden()
    logged = {entry.sha256: entry for _, entry, _ in query(path) if entry.sha256 and not entry.who}
    source = find_photos(str(photos), [])
    differing = unknown = 0
    found = inspector.inspect_files([source.root / name for name in source.names])
    for one in counted(found, len(source.names), "photos"):
        entry = logged.get(one.sha256)
        unknown += entry is None
        if entry is not None and entry.verdict != one.verdict:
            print(f"{one.path} was {entry.verdict} at {entry.time} by model {entry.model_id}, now {one.verdict}")
            differing += 1
    same = len(source.names) - differing - unknown
    print(f"{len(source.names)} photos: {same} as in the log, {differing} not, {unknown} without a row")
    if differing:
        raise SystemExit(1)


def main() -> None:
    """Run the command."""
    run_plain(log, LogConfig, "file action output", HELP)


if __name__ == "__main__":
    main()
