import base64
import csv
import hashlib
import io
import json
import re
import shlex
import shutil
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from qc_lightning.config.record import RunRecord
from qc_lightning.core.errors import UserError
from qc_lightning.metrics.compute import evaluate
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.wording import interval, warnings_for
from qc_lightning.report.page import write_report

HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(1)</script>.png",
    "\"'><svg onload=alert(1)>.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "\u202egnp.txt",
    "new\nline.png",
    "bytes\udcff.png",
    "=cmd(),;\t" + "x" * 150 + ".png",
)


def write_csv(path, header, rows):
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out:
        csv.writer(out).writerows([header.split(","), *rows])


def read_csv(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return list(csv.DictReader(lines))


def make_run(folder, n=120, skill=2.0, classes=("Correct", "Incorrect"), name="part_{}.png", threshold=0.5):
    """A run folder as training leaves it: the first third test, the next val, the rest train."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, n)
    logit = rng.normal(size=n) + skill * (label - 0.5)
    p, decision = 1 / (1 + np.exp(-logit)), Decision(threshold, "by hand")
    paths = [name.format(i) if isinstance(name, str) else f"{i}/{name[i % len(name)]}" for i in range(n)]
    sha256 = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    subset = np.array(["test", "val", "train"]).repeat(n // 3)
    parts = {part: subset == part for part in ("train", "val", "test")}
    metrics = {part: evaluate(p[k], logit[k], label[k], None, Decision(threshold, "")) for part, k in parts.items()}
    extra = {
        "warnings": warnings_for(metrics),
        "threshold": threshold,
        "timing_s": {"fit": 1.5},
        "versions": {"torch": "2"},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics | extra))
    (folder / "decision.json").write_text(json.dumps(decision.to_dict()))
    names = [classes[i] for i in label]
    write_csv(
        folder / "split.csv", "path,label,group,subset,sha256", zip(paths, names, paths, subset, sha256, strict=True)
    )
    tested = [(paths[i], names[i], repr(float(p[i])), decision.verdicts(p[i])) for i in np.flatnonzero(parts["test"])]
    write_csv(folder / "predictions.csv", "path,label,probability,verdict", tested)
    epochs = [(e, 0.7 - 0.1 * e, 0.5 + 0.1 * e, 0.8 - 0.1 * e, 0.5, 1e-3) for e in range(3)]
    write_csv(folder / "history.csv", "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr", epochs)
    config = {
        "data": {
            "source": "folder",
            "root": str(folder / "photos"),
            "classes": dict(zip(("correct", "incorrect"), classes, strict=True)),
        }
    }
    overrides = ["optim.lr=3e-4", "data.root=my photos"]
    command = shlex.join(["python", "-m", "qc_lightning.train", *overrides])
    note = {"note": "</pre><script>alert(1)</script>"}
    record = RunRecord(command, overrides, str(folder.parent), config | note)
    (folder / "config.yaml").write_text(record.to_yaml())
    return folder, metrics


class Page(HTMLParser):
    """The page as a browser sees it."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.data, self._in = [], "", None, ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self._in = tag if tag in ("script", "style") else ""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self._in == "script" and self.tags[-1][1].get("type") == "application/json":
            self.data = json.loads(data)
        elif not self._in:
            self.text += data

    def handle_endtag(self, tag):
        self._in = ""

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def words(text):
    return " ".join(text.split())


def test_the_headline_is_escapes_then_overkill_then_accuracy_with_intervals(tmp_path):
    run, metrics = make_run(tmp_path / "run")
    text = words(Page(write_report(run)).text)
    (tn, fp), (fn, tp) = metrics["test"]["confusion_matrix"]
    order = [
        f"{fn} of {fn + tp} Incorrect parts passed",
        f"{fp} of {tn + fp} Correct parts rejected",
        "of 40 test photos",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    value, low, high = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", interval(metrics["test"]["escape_rate"])).groups()
    assert f"Escape rate {value} 95% interval {low} to {high}" in text


def test_the_page_asks_nothing_of_a_network_and_runs_one_script(tmp_path):
    page = Page(write_report(make_run(tmp_path / "run", name=HOSTILE)[0]))
    links = [
        value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "srcset", "action")
    ]
    assert all(link.startswith(("data:", "#")) for link in links)
    (policy,) = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    source = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)[-1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_hostile_names_are_shown_and_not_run(tmp_path):
    classes = ('<b>gut</b> & "so"', "</script><script>alert(1)</script>")
    page = Page(write_report(make_run(tmp_path / "run", name=HOSTILE, classes=classes)[0]))
    assert [attrs.get("type") for attrs in page.all("script")] == ["application/json", None]
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert not page.all("svg")
    assert page.data["classes"] == list(classes)
    for name in HOSTILE:
        assert words(name.encode("utf-8", "backslashreplace").decode()) in words(page.text)
    assert "</pre><script>alert(1)</script>" in page.text  # the config


def test_the_data_of_the_charts_are_those_of_the_run(tmp_path):
    run, metrics = make_run(tmp_path / "run", threshold=0.37)
    data = Page(write_report(run)).data
    (tn, fp), (fn, tp) = metrics["test"]["confusion_matrix"]
    at = data["sweep"]["run"].index(True)
    assert (data["sweep"]["threshold"][at], data["sweep"]["escapes"][at], data["sweep"]["overkills"][at]) == (
        0.37,
        fn,
        fp,
    )
    assert (data["correct"], data["incorrect"]) == (tn + fp, fn + tp)
    assert sum(data["histogram"]["correct"]) == tn + fp
    assert [row["val_loss"] for row in data["history"]] == pytest.approx([0.8, 0.7, 0.6])


def test_mistakes_are_shown_worst_first_with_photo_and_heat_map(tmp_path):
    run, _ = make_run(tmp_path / "run", skill=1.0)
    wrong = [
        row for row in read_csv(run / "predictions.csv") if (row["verdict"] == "PASS") == (row["label"] == "Incorrect")
    ]
    escapes = sorted((row for row in wrong if row["verdict"] == "PASS"), key=lambda row: float(row["probability"]))
    (run / "photos").mkdir()
    Image.new("RGB", (300, 200), (200, 30, 30)).save(run / "photos" / escapes[0]["path"])
    sha256 = {row["path"]: row["sha256"] for row in read_csv(run / "split.csv")}
    (run / "explanations").mkdir()
    Image.new("RGB", (64, 64)).save(run / "explanations" / f"{sha256[escapes[0]['path']]}.png")
    page = Page(write_report(run))
    photo, heat = page.all("img")
    assert escapes[0]["path"] in photo["alt"]
    assert escapes[0]["path"] in heat["alt"]
    with Image.open(io.BytesIO(base64.b64decode(photo["src"].partition(",")[2]))) as thumbnail:
        assert thumbnail.size == (300, 200)  # its own shape, large enough to judge
        assert thumbnail.convert("RGB").getpixel((1, 96)) == pytest.approx((200, 30, 30), abs=4)
    assert f"photos/{escapes[0]['path']}" in [attrs["href"] for attrs in page.all("a")]
    overkills = sorted((row for row in wrong if row not in escapes), key=lambda row: -float(row["probability"]))
    shown = [attrs["title"] for attrs in page.all("p") if "title" in attrs]
    assert shown == [row["path"] for row in (*escapes, *overkills)]
    assert len(shown) == len(wrong) <= 24
    assert page.text.count("photo not found") == len(wrong) - 1


def test_the_gallery_gives_both_kinds_room(tmp_path):
    run, metrics = make_run(tmp_path / "run", n=600, skill=0.0)
    page = Page(write_report(run))
    kinds = [
        attrs["class"] for attrs in page.all("li") if "class" in attrs and attrs["class"] in ("escape", "overkill")
    ]
    assert kinds == ["escape"] * 12 + ["overkill"] * 12
    assert f"Escapes: {metrics['test']['confusion_matrix'][1][0]}, the worst 12 shown" in words(page.text)


def test_warnings_and_leaks_come_before_the_headline(tmp_path):
    run, _ = make_run(tmp_path / "run", skill=0.0)
    with (run / "split.csv").open("a") as out:
        out.write("copy.png,Correct,part_0.png,train,\n")
    text = words(Page(write_report(run)).text)
    assert text.index("groups (parts) found in two subsets") < text.index("Escape rate")
    assert text.index(
        "Balanced accuracy on test" if "Balanced accuracy on test" in text else "Accuracy on test"
    ) < text.index("Escape rate")


@pytest.mark.parametrize(
    "kept", [{"metrics.json"}, {"metrics.json", "predictions.csv"}, {"metrics.json", "split.csv", "history.csv"}]
)
def test_a_run_with_little_in_it_still_has_a_page(tmp_path, kept):
    run, _ = make_run(tmp_path / "run")
    for path in [path for path in run.iterdir() if path.name not in kept]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Escape rate" in Page(write_report(run)).text


@pytest.mark.parametrize("subset", ["val", None])
def test_without_test_figures_the_page_says_so(tmp_path, subset):
    run, metrics = make_run(tmp_path / "run")
    (run / "predictions.csv").unlink()
    kept = {subset: metrics[subset]} if subset else {}
    (run / "metrics.json").write_text(json.dumps({**kept, "threshold": 0.5, "warnings": []}))
    text = words(Page(write_report(run)).text)
    assert ("has no test figures" if subset else "No photo was evaluated") in text


def test_one_class_only_and_no_number_are_no_error(tmp_path):
    run, _ = make_run(tmp_path / "run")
    (run / "predictions.csv").write_text("path,label,probability,verdict\na,Correct,nan,REJECT\nb,Correct,0.2,PASS\n")
    z = np.array([np.nan, -1.0])
    found = evaluate(1 / (1 + np.exp(-z)), z, np.array([0, 0]), None, Decision(0.5, ""))
    (run / "metrics.json").write_text(json.dumps({"test": found, "threshold": 0.5, "warnings": []}))
    page = Page(write_report(run))
    assert "not a number" in page.text
    assert not page.all("input")  # nothing to slide


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_no_metrics_is_said_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError) as error:
        write_report(tmp_path)
    assert "\n" not in str(error.value).replace(str(tmp_path), "")
    assert not (tmp_path / "report.html").exists()


def test_the_commands_that_remake_it_and_the_same_bytes_each_time(tmp_path):
    run, _ = make_run(tmp_path / "run")
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    text = Page(run / "report.html").text
    assert "python -m qc_lightning.train optim.lr=3e-4 'data.root=my photos'" in text
    assert f"python -m qc_lightning.report.page {run}" in text


def test_figures_and_bad_files_are_shown(tmp_path):
    run, _ = make_run(tmp_path / "run")
    (run / "figures").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (1500, 2000, 3), dtype=np.uint8)).save(
        run / "figures" / "augmented_photos.png"
    )
    Image.new("RGB", (5, 5)).save(run / "figures" / "learning_curves.png")
    write_csv(run / "bad_files.csv", "path,reason", [(f"<i>{i}.jpg", "truncated") for i in range(150)])
    page = Page(write_report(run))
    assert [attrs["alt"] for attrs in page.all("img")] == ["Figure: augmented photos"]
    assert "150 unreadable files" in words(page.text)
    assert "<i>99.jpg" in page.text
    assert "<i>100.jpg" not in page.text
    assert (run / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_thirty_thousand_photos_make_a_small_page_quickly(tmp_path):
    run, _ = make_run(tmp_path / "run", n=90_000)
    start = time.perf_counter()
    page = write_report(run)
    assert time.perf_counter() - start < 10  # 2 s on an idle core
    assert page.stat().st_size < 1_000_000
    assert "All 30,000 are in predictions.csv" in words(Page(page).text)


def test_advice_names_no_folder_that_is_taken(tmp_path):
    """A run in a folder named by the user: the same command again would be refused."""
    run, _ = make_run(tmp_path / "run", skill=0.0)
    record = run / "config.yaml"
    command = "command: python -m qc_lightning.train 'hydra.run.dir=my run' optim.lr=3e-4\n"
    record.write_text(re.sub(r"command: .*\n", command, record.read_text()))
    page = Page(write_report(run))
    advice, remake = words(page.text).split("Remake this run")
    assert "python -m qc_lightning.train optim.lr=3e-4 " in advice
    assert "hydra.run.dir" not in advice
    assert "hydra.run.dir=my run" in remake


def test_the_headline_counts_verdicts_by_part_and_shows_the_oddest_photos(tmp_path):
    run, _ = make_run(tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    rate = {"value": 0.25, "low": 0.1, "high": 0.4}
    of = {"PASS": 3, "REVIEW": 2, "REJECT": 7}
    metrics["test"]["parts"] = {"n": 24, "escape_rate": rate, "overkill_rate": rate, "review_rate": rate}
    metrics["test"]["parts"]["verdicts"] = {"correct": of, "incorrect": of}
    metrics["novelty"] = {"limit": 2.0, "test": {"n": 36, "above": 1, "rate": rate}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    rows = read_csv(run / "predictions.csv")
    for place, row in enumerate(rows):
        row["novelty"] = str(place / 10)
    write_csv(run / "predictions.csv", ",".join(rows[0]), [list(row.values()) for row in rows])
    page = Page(write_report(run))
    text = words(page.text)
    assert "3 of 12 Incorrect parts passed, 2 for a person" in text
    assert "7 of 12 Correct parts rejected, 2 for a person" in text
    assert re.search(r"escape rate by part.*?25% \(10% to 40%\)", text)
    oddest = [attrs["class"] for attrs in page.all("li") if attrs.get("class") in ("odd", "usual")]
    assert len(oddest) == 8
    assert oddest[0] == "odd"
