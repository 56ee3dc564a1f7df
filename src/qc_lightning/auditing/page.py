"""audit.html: the findings with photos and buttons for corrections, in one file without external resources."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qc_lightning.auditing.class_pictures import class_pictures
from qc_lightning.config import DataConfig
from qc_lightning.core.atomic import replacing
from qc_lightning.data.checks.findings import Check
from qc_lightning.data.corrections import read_corrections
from qc_lightning.data.dataset import PhotoSet
from qc_lightning.report.environment import FOLDER, environment, style
from qc_lightning.report.gallery import Pictures, link_to
from qc_lightning.report.page import script_hash

_MOST = 24  # photos shown per check
_BUDGET = 16_000_000  # total characters of all pictures
_PIXEL_CHECKS = ("border_colour", "mean_colour")


def write_page(folder: Path, photos: PhotoSet, checks: Sequence[Check], config: DataConfig) -> Path:
    """Write audit.html into the folder of an audit; photos are shown as the network sees them and linked to their
    files.

    Args:
        folder: folder of the audit.
        photos: the checked photos.
        checks: checks with their findings.
        config: settings of the photos.
    """
    from markupsafe import Markup

    script = (FOLDER / "corrections.js").read_text(encoding="utf-8")
    pictures = Pictures(_BUDGET)
    sections = _sections(folder, photos, checks, config.classes.names, pictures)
    page = (
        environment(Path(__file__).parent)
        .get_template("audit.html.jinja")
        .render(
            # the page's own script is trusted: like the style it is not escaped
            style=style(),
            script=Markup(script),
            script_hash=script_hash(script),
            sections=sections,
            classes=config.classes.names,
            counts=[int((photos.labels == label).sum()) for label in (0, 1)],
            left_out=pictures.left_out,
            corrections=read_corrections(Path(config.corrections).expanduser()) if config.corrections else [],
        )
    )
    with replacing(folder / "audit.html") as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))
    return folder / "audit.html"


def _sections(
    folder: Path, photos: PhotoSet, checks: Sequence[Check], class_names: tuple[str, str], pictures: Pictures
) -> list[dict[str, Any]]:
    """A section of the page for each check, those with findings first; pictures are taken as long as they fit."""
    place = {photo.name: index for index, photo in enumerate(photos.photos)}

    def shown(name: str) -> Mapping[str, str | None]:
        index = place[name]
        photo = photos.photos[index]
        pixels = photos.pixels(np.array([index]))[0]
        return {
            "path": name,
            "label": class_names[photo.label],
            "other_label": class_names[1 - photo.label],
            "picture": pictures.pixels(pixels),
            "link": link_to(photo.path, folder),
        }

    sections = []
    for check in sorted(checks, key=lambda check: ("look", "fine", "not checked").index(check.result)):
        pictured = [finding for finding in check.findings if finding.path in place]
        cards = [
            {
                "photos": [shown(name) for name in (finding.path, finding.other)[: 1 + check.pairs]],
                "other": "" if check.pairs else finding.other,
                "value": finding.value,
            }
            for finding in pictured[: _MOST // (1 + check.pairs)]
        ]
        explained = check.flagged and check.name in _PIXEL_CHECKS
        classes = class_pictures(photos, class_names) if explained else []
        means = [(caption, pictures.pixels(pixels)) for caption, pixels in classes]
        names = [finding for finding in check.findings if finding.path not in place][:_MOST]
        sections.append({"check": check, "cards": cards, "names": names, "total": len(check.findings), "means": means})
    return sections
