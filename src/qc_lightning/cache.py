"""Show and clear the cache: `python -m qc_lightning.cache`, settings as Hydra overrides."""

from pathlib import Path

from qc_lightning.cli.app import run_command
from qc_lightning.config import CacheConfig


def cache(config: CacheConfig) -> None:
    """Print the size of each kind of cached files, or remove them; runs and completely rendered photos are kept."""
    from qc_lightning.core.atomic import remove_abandoned
    from qc_lightning.data.pixels import pixel_cache as files

    root = Path(config.cache_dir).expanduser()
    for what, folder, pattern in (
        ("decoded photos", root / "pixels", files.PIXELS),
        ("features of pretrained networks", root / "features", files.FEATURES),
    ):
        if config.clear:
            print(f"{what}: {files.clear(folder, pattern) / 1e6:,.1f} MB freed")
        else:
            print(f"{what}: {files.size_of(folder, pattern) / 1e6:,.1f} MB in {folder}")
    if config.clear:
        remove_abandoned(root / "parts")
    else:
        print("clear=true removes them; the next run creates again what it needs")


def main() -> None:
    """Run the command."""
    run_command(cache, "cache")


if __name__ == "__main__":
    main()
