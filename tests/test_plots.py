import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qc_lightning.report import charts as plots


def epochs(n, val=True):
    rows = [{"epoch": e, "train_loss": 0.7 * 0.9**e, "train_accuracy": 0.5 + 0.04 * e, "lr": 1e-3} for e in range(n)]
    known = {"val_loss": 0.6, "val_accuracy": 0.7} if val else {"val_loss": None, "val_accuracy": None}
    return [{**row, **known} for row in rows]


def test_learning_curves_show_what_is_known():
    accuracy, loss = plots.learning_curves(epochs(10)).axes
    assert [line.get_label() for line in accuracy.lines] == ["training", "validation"]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([0.5 + 0.04 * e for e in range(10)])
    assert loss.lines[1].get_ydata().tolist() == [0.6] * 10
    assert (accuracy.get_xlabel(), accuracy.get_ylabel(), loss.get_ylabel()) == ("epoch", "accuracy", "loss")


@pytest.mark.parametrize("rows", [epochs(1), epochs(1, val=False), epochs(5, val=False), []])
def test_learning_curves_of_little(rows, tmp_path):
    figure = plots.learning_curves(rows)
    plots.save(figure, tmp_path / "curves.png")
    for axes in figure.axes:
        assert len(axes.lines) == (0 if not rows else 1 + (rows[0]["val_loss"] is not None))
        ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
        assert all(float(tick).is_integer() for tick in ticks)  # there is no epoch 0.5


def test_an_epoch_without_a_number_leaves_a_gap_in_nothing_else():
    rows = epochs(4)
    rows[2]["train_loss"] = None
    loss = plots.learning_curves(rows).axes[1]
    assert loss.lines[0].get_xdata().tolist() == [0, 1, 3]


def test_the_confusion_matrix_names_every_outcome():
    axes = plots.confusion_matrix({"confusion_matrix": [[22, 5], [3, 24]]}, ("$gut$", "x" * 60)).axes[0]
    texts = {tuple(text.get_position()): text.get_text() for text in axes.texts}
    by_cell = {(round(x), round(y)): [] for x, y in texts}
    for (x, y), text in texts.items():
        by_cell[round(x), round(y)].append(text)
    # columns are verdicts, rows true classes
    assert by_cell == {
        (0, 0): ["22", "passed, 81%"],
        (1, 0): ["5", "overkill, 19%"],
        (0, 1): ["3", "escaped, 11%"],
        (1, 1): ["24", "rejected, 89%"],
    }
    assert axes.get_yticklabels()[0].get_text() == "$gut$"


@pytest.mark.parametrize("matrix", [[[0, 0], [0, 0]], [[0, 0], [9, 1]], [[10**6, 0], [0, 10**6]]])
def test_a_confusion_matrix_with_empty_classes_is_drawn(matrix, tmp_path):
    assert plots.save(plots.confusion_matrix({"confusion_matrix": matrix}), tmp_path / "m.png").stat().st_size > 0


def test_the_contact_sheet_shows_each_photo_in_its_colours(tmp_path):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (10, 200, 90)] * 3
    images = np.stack([np.broadcast_to(np.array(c, dtype=np.uint8)[:, None, None], (3, 32, 32)) for c in colours])
    figure = plots.contact_sheet(images, [f"_{{$^photo {i} with a long name" for i in range(12)])
    with Image.open(plots.save(figure, tmp_path / "sheet.png")) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    seen = [int((np.abs(pixels.astype(int) - colour).max(axis=1) < 4).sum()) for colour in colours[:4]]
    assert min(seen) > 0.9 * max(seen) > 10_000  # three tiles of each


@pytest.mark.parametrize("n", [0, 1, 9])
def test_a_contact_sheet_of_any_number(n, tmp_path):
    images = np.zeros((n, 3, 64, 64), dtype=np.uint8)
    plots.save(plots.contact_sheet(images, ["x"] * n), tmp_path / "sheet.png")


def test_saving_leaves_one_whole_file_with_the_same_bytes_each_time(tmp_path):
    first = plots.save(plots.learning_curves(epochs(3)), tmp_path / "figures" / "a.png").read_bytes()
    second = plots.save(plots.learning_curves(epochs(3)), tmp_path / "figures" / "a.png").read_bytes()
    assert first == second
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["a.png"]


def test_a_figure_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = plots.save(plots.learning_curves(epochs(3)), tmp_path / "a.png")
    before = target.read_bytes()
    figure = plots.learning_curves(epochs(3))

    def half(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_module_is_light_and_pyplot_is_never_loaded():
    code = (
        "import sys, pathlib, tempfile; from qc_lightning.report import charts as plots;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.save(plots.learning_curves([]), pathlib.Path(tempfile.mkdtemp()) / 'a.png');"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_class_names_without_glyphs_are_neutral_and_other_signs_are_told_apart(
    tmp_path: Path,
) -> None:
    """Warnings are errors here, and matplotlib warns about each character that it draws as a box."""
    part = {"confusion_matrix": [[8, 1], [2, 9]], "n": 20}
    unknown = chr(0x10FFFD), chr(0x10FFFC)  # the end of the private planes: in no font
    figure = plots.confusion_matrix(part, unknown)
    words = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert words[:2] == ["Correct", "Incorrect"]
    figure.suptitle(f"{unknown[0]} grün.png")
    plots.save(figure, tmp_path / "a.png")
    assert figure.get_suptitle() == "? grün.png"
    umlauts = plots.confusion_matrix(part, ("für", "gegen"))
    assert [text.get_text() for axes in umlauts.axes for text in axes.get_yticklabels()][:2] == ["für", "gegen"]
