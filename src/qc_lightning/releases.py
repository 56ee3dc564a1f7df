"""List the releases: `qc-lightning releases`."""

import shlex

from qc_lightning.cli.app import run_command
from qc_lightning.config import ReleasesConfig


def releases(config: ReleasesConfig) -> None:
    """Print each release, its target, and the command that restores its previous target."""
    from qc_lightning.core.release import RELEASES, all_releases

    existing = all_releases()
    if not existing:
        print(f"no release below {RELEASES.resolve()}: qc-lightning release run=latest name=line-3")
    for release in existing:
        certified = "certified" if release.certified else "no certificate"
        print(f"{release.name}: {release.run}, decision {release.decision}, model {release.model_id}, {certified}")
        print(f"  by {release.who}, {release.when}{': ' + release.why if release.why else ''}")
        for before in reversed(release.former[-3:]):
            again = shlex.join([f"run={before['run']}", f"decision={before['decision']}", f"name={release.name}"])
            print(
                f"  before: {before['run']}, decision {before['decision']}, by {before['who']}, {before['when']}; "
                f"back to it: qc-lightning release {again}"
            )


def main() -> None:
    """Run the command."""
    run_command(releases, "releases")


if __name__ == "__main__":
    main()
