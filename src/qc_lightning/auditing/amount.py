"""Check the number of parts, and the best guarantee that it allows."""

from collections.abc import Sequence

from qc_lightning.data.checks.findings import Check
from qc_lightning.data.photo import Photo
from qc_lightning.metrics.certificate import parts_needed, upper_bound

_FEW = 30  # fewer parts per class are flagged


def check_amount(photos: Sequence[Photo], class_names: tuple[str, str], test: float) -> Check:
    """Count the parts of each class, and compute the guarantee of a test on them without errors."""
    parts = [len({photo.group for photo in photos if photo.label == label}) for label in (0, 1)]
    tested = [max(1, round(test * count)) for count in parts]
    escape, overkill = (upper_bound(0, count) for count in reversed(tested))
    some, many, most = (f"{parts_needed(rate):,}" for rate in (0.05, 0.01, 0.001))
    text = (
        f"{parts[0]} {class_names[0]} and {parts[1]} {class_names[1]} parts, {test:.0%} of them the test part: if none "
        f"of those is judged wrongly, escapes are below {escape:.1%} and overkill below {overkill:.1%} at 95% "
        f"confidence. Escapes below 5%, 1% and 0.1% take {some}, {many} and {most} {class_names[1]} parts that "
        "training has not seen, none of them passed; overkill takes as many of the other class."
    )
    return Check("amount", min(parts) < _FEW, text, value=float(min(parts)))
