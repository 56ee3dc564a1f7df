"""Check photos before training: `qc-lightning audit photos/`, settings as Hydra overrides."""

from pathlib import Path

from qc_lightning.cli.app import run_command
from qc_lightning.config import AuditConfig


def audit(config: AuditConfig) -> Path:
    """Check photos and write the findings: a table, audit.csv, audit.json, and a page to correct labels from.

    The folder of the findings appears complete or not at all.

    Returns:
        The folder of the findings.
    """
    from qc_lightning.auditing import output
    from qc_lightning.auditing.photo_checks import check_files, network_checks, pixel_checks
    from qc_lightning.core.timing import Timing
    from qc_lightning.data.checks.dataset_checks import check_photos
    from qc_lightning.data.dataset import read_photos

    folder, timing = output.free_folder(config.output), Timing()
    photos = read_photos(config.data)
    timing.done("decoding")
    checks = check_files(photos)
    checked = check_photos(photos.photos, photos.positions, photos.store, config.data)
    photos = photos.with_photos(checked.photos)
    checks += [*checked.checks, *pixel_checks(photos, checked, config.data)]
    timing.done("pixel checks")
    checks += network_checks(photos, checked.copies, config)
    timing.done("network checks")

    from qc_lightning.auditing.page import write_page
    from qc_lightning.core.atomic import unfinished_folder
    from qc_lightning.core.claim import place_folder

    with unfinished_folder(folder.parent) as unfinished:
        output.write_tables(unfinished, checks)
        write_page(unfinished, photos, checks, config.data)
        folder = place_folder(unfinished, folder, config.output is not None, "output=")
    timing.done("page")
    print(output.table(checks, photos, timing.seconds))
    print(f"audit: {folder / 'audit.html'}, audit.csv, audit.json")
    return folder


def main() -> None:
    """Run the command."""
    run_command(audit, "audit")


if __name__ == "__main__":
    main()
