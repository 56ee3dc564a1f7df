"""model_card.md: it agrees with the run, and the user's names stay plain text."""

from collections.abc import Callable
from pathlib import Path

from conftest import save_photo

Train = Callable[..., tuple[int, Path, str]]


def test_the_card_of_a_run(train: Train, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for seed in range(20):
        save_photo(root / "good" / f"{seed}.png", bright=False, seed=seed)
        save_photo(root / "no|k<b>" / f"{seed}.png", bright=True, seed=50 + seed)
    names = ["data.classes.correct=good", "data.classes.incorrect='no|k<b>'"]
    quick = ["data.image_size=16", "model.hidden=[4]", "trainer.max_epochs=1", "report=false"]
    code, run, output = train("data=folder", f"data.root={root}", *names, *quick)
    assert code == 0, output
    card = (run / "model_card.md").read_text()
    assert card.startswith("# Model card: good or no\\|k\\<b\\>\n")
    assert "| test | 6 | 6 |" in card
    assert "rotation 15, zoom 0.1, hflip 0.5, vflip 0.5" in card
    assert "## Figures on the 12 test photos" in card
    assert "- Few test photos: only 6 no\\|k\\<b\\>" in card
    assert "| threshold | 0.5 (fixed: set by hand, not fitted to photos) |" in card
