"""Tables are read back unchanged, and no spreadsheet executes their cells."""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import save_photo
from qc_lightning import evaluate as evaluate_command
from qc_lightning.core.csv_files import as_given, csv_text, harmless, read_table

RUNS = ("=", "+", "-", "@", "\t", "\r")  # https://owasp.org/www-community/attacks/CSV_Injection
Train = Callable[..., tuple[int, Path, str]]


@given(st.text(st.sampled_from("'=+-@\t\rab1,\"\n"), max_size=6))
@settings(max_examples=300)
def test_a_text_is_no_formula_and_comes_back(text: str) -> None:
    field = harmless(text)
    assert isinstance(field, str)
    if field.startswith(RUNS):
        float(field)  # a number is not a formula
    assert as_given(field) == text or field == text


def test_a_table_comes_back(tmp_path: Path) -> None:
    rows = [("=1+1", "'=1+1", "a,b"), ("-0.5", "", 'say "x"\nand y'), ("@SUM(A1)", "''", "+49 30 123")]
    (tmp_path / "t.csv").write_bytes(csv_text(("a", "b", "c"), rows).encode())
    assert [tuple(row.values()) for row in read_table(tmp_path / "t.csv")] == rows


@given(st.lists(st.tuples(*[st.text(st.sampled_from("a \r\n\",;='\u2028\x85"), max_size=5)] * 2), max_size=4))
@settings(max_examples=200)
def test_any_text_comes_back(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(csv_text(("a", "b"), rows).encode())
        assert [tuple(row.values()) for row in read_table(path)] == rows


@pytest.mark.parametrize("text", ["a,b\n1,2", "a,b\n1\n", "a,b\n1,2,3\n", "a,b\n1,\xff\n"])
def test_a_table_that_is_not_whole_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"cut off|fields|decode"):
        read_table(tmp_path / "t.csv")


@pytest.mark.slow
def test_groups_and_names_from_outside_run_nowhere(
    tmp_path: Path, train: Train, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """`group` of a manifest, a class and a kind of defect that begin like formulas, end to end."""
    lines = ["path,label,group,kind"]
    for seed in range(24):
        save_photo(tmp_path / "photos" / f"{seed}.png", bright=seed % 2 == 1, seed=seed, size=16)
        label = ("@good", "=bad")[seed % 2]
        lines.append(f'{seed}.png,{label},"=HYPERLINK(""http://evil"",{seed // 2 * 2 + seed % 2})",+dent')
    (tmp_path / "photos" / "m.csv").write_text("\n".join(lines) + "\n")
    data = ["data=folder", f"data.manifest={tmp_path / 'photos' / 'm.csv'}", "data.image_size=16"]
    names = ["data.classes.correct='@good'", "data.classes.incorrect='=bad'"]
    small = ["model.hidden=[8]", "trainer=cpu", "trainer.max_epochs=1", "report=false"]
    code, run, out = train(*data, *names, *small)
    assert code == 0, out
    assert call(evaluate_command.main, f"run={run}", "name=again", "subset=test", "device=cpu") == 0
    assert "to the last digit" in capsys.readouterr().out
    for path in run.rglob("*.csv"):
        with path.open(newline="") as file:
            fields = [field for row in csv.reader(file) for field in row if field.startswith(RUNS)]
        assert all(float(field) < 0 for field in fields), path
    code, _, out = train(f"resume={run}", "trainer.max_epochs=2", folder=run)
    assert code == 0, out
    again = ["data=folder", f"data.manifest={run / 'split.csv'}", "data.image_size=16"]
    code, second, out = train(*again, *names, *small)
    assert code == 0, out
    assert (second / "split.csv").read_text() == (run / "split.csv").read_text()
