"""The checks of an audit that do not run before training."""

from collections.abc import Sequence

from qc_lightning.auditing.amount import check_amount
from qc_lightning.auditing.outliers import check_outliers
from qc_lightning.config import AuditConfig, DataConfig
from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.data.checks.dataset_checks import CheckedPhotos, copies_across_subsets
from qc_lightning.data.checks.duplicates import Copies
from qc_lightning.data.checks.findings import Check, Finding, counted
from qc_lightning.data.checks.group_checks import check_groups, groups_across_subsets
from qc_lightning.data.dataset import PhotoSet


def check_files(photos: PhotoSet) -> list[Check]:
    """Check for unreadable files, and for others that the catalog left out.

    Raises:
        UserError: a class has no readable photo.
    """
    present = {photo.label for photo in photos.photos}
    if len(present) < 2:
        which = "neither class" if not present else "one class only"
        reason = f", {len(photos.bad)} files are unreadable, for example {photos.bad[0][0]}" if photos.bad else ""
        raise UserError(f"expected readable photos of both classes, got those of {which}{reason}")
    findings = [Finding(str(path), reason) for path, reason in photos.bad]
    text = f"{counted(len(findings), 'file', 'cannot', 'cannot')} be read." if findings else "every file can be read."
    notes = " ".join(photos.notes)
    return [
        Check("unreadable", bool(findings), text, findings=findings),
        Check("left_out", bool(notes), notes or "nothing was left out."),
    ]


def pixel_checks(photos: PhotoSet, checked: CheckedPhotos, config: DataConfig) -> list[Check]:
    """Run the checks of pixels, files and names."""
    return [
        copies_across_subsets(photos.photos, checked.copies),
        *check_groups(photos.photos, checked.facts, config.group),
        groups_across_subsets(photos.photos),
        *check_outliers(photos, checked.facts),
        check_amount(photos.photos, config.classes.names, config.split.test),
    ]


def network_checks(photos: PhotoSet, copies: Sequence[Copies], config: AuditConfig) -> list[Check]:
    """Run the checks that need a network: doubtful labels, and the learning curve."""
    if config.quick:
        return [Check.not_made(name, "left out with quick=true.") for name in ("label_errors", "learning_curve")]
    from qc_lightning.auditing.labels import check_labels, held_together
    from qc_lightning.auditing.learning_curve import check_learning_curve
    from qc_lightning.auditing.out_of_fold import deal, photo_features
    from qc_lightning.inference.checkpoint import chosen_device
    from qc_lightning.metrics.decision import probabilities

    device = chosen_device("auto")
    head, features = photo_features(photos, config.data, config.model, device)
    penalty, seed = config.model.penalty, config.seed
    photos_to_check = deal(held_together(photos.photos, copies), seed)
    if photos_to_check is None:
        why = "too few parts of one class for a model that has not seen the photo."
        return [Check.not_made(name, why) for name in ("label_errors", "learning_curve")]
    with Progress(total=2, desc="fitting heads", unit="check", delay=1.0) as bar:
        probability = probabilities(head.fit(features, photos_to_check, penalty))
        bar.update()
        pooled = head.split(features)[0]
        curve = check_learning_curve(head.pooled, pooled, photos.photos, config.data.classes.names, penalty, seed)
        bar.update()
    return [check_labels(photos.photos, probability), curve]
