"""Location of `conf/`, and the presets in it that the code reads."""

from pathlib import Path
from typing import Any

from qc_lightning.config.augment import AugmentConfig

_PACKAGE = Path(__file__).resolve().parents[1]
# in a wheel conf/ is inside the package, in a checkout at the top level
CONF = next((path for path in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf") if path.is_dir()), _PACKAGE / "conf")


def options(group: Path) -> list[str]:
    """Names of the options in a folder of `conf/`, without `base`, from which they inherit."""
    return sorted(path.stem for path in group.glob("*.yaml") if path.stem != "base")


def augmentations() -> dict[str, AugmentConfig]:
    """All augmentations in `conf/augment` except `none`, by name."""
    from omegaconf import OmegaConf

    def settings(name: str) -> dict[str, Any]:
        own: Any = OmegaConf.to_container(OmegaConf.load(CONF / "augment" / f"{name}.yaml"))
        # its defaults list is a parent and _self_; a run has composed only the one that it uses
        parents = [parent for parent in own.pop("defaults", []) if parent != "_self_"]
        return {key: value for layer in [*map(settings, parents), own] for key, value in layer.items()}

    names = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
    return {name: AugmentConfig(**settings(name)) for name in names if name not in ("base", "none")}
