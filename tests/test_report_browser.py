"""The report in a real browser; skipped without one."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.metrics.wording import interval
from qc_lightning.report.page import write_report
from test_report import HOSTILE, make_run, read_csv

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# moves the slider, types, clicks and points as a person would, and records what the page shows
PROBE = """
<pre id="probe"></pre><script>
(() => {
  const at = (id) => document.getElementById(id);
  const read = () => ["fn", "fp", "tn", "tp"].map((id) => Number(at(id).textContent.replaceAll(",", "")));
  const verdicts = () => [...document.querySelectorAll("#verdicts tbody td:last-child")].map((td) => td.textContent);
  const slider = at("slider"), plot = document.querySelector("#tradeoff svg"), found = { start: read(), steps: [] };
  found.rate = at("escape-rate").textContent;
  found.charts = document.querySelectorAll(".plot svg").length;
  for (const share of [0, 0.2, 0.5, 0.9, 1]) {
    slider.value = Math.round(share * slider.max);
    slider.dispatchEvent(new Event("input"));
    const rejects = verdicts().filter((verdict) => verdict === "REJECT").length;
    const told = slider.getAttribute("aria-valuetext");
    found.steps.push({ threshold: at("at").textContent, counts: read(), rejects, told });
  }
  at("typed").value = "0.25";
  at("typed").dispatchEvent(new Event("input"));
  found.typed = at("at").textContent;
  at("back").click();
  found.back = read();
  const box = plot.getBoundingClientRect();
  const middle = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
  plot.dispatchEvent(new PointerEvent("pointermove", middle));
  found.tip = document.querySelector("#tradeoff .tip").textContent;
  plot.dispatchEvent(new MouseEvent("click", middle));
  found.clicked = `threshold ${at("at").textContent}`;
  found.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  found.unnamed = [...document.querySelectorAll("img:not([alt]), svg:not([aria-label])")].length;
  at("probe").textContent = JSON.stringify(found);
})();
</script>"""


def browse(page, folder, *flags):
    """The page's DOM after its scripts have run, and what it wrote to the console."""
    # the first flag is for a container's root; the others silence the browser's own traffic
    quiet = "no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-background-networking"
    command = [CHROMIUM, "--headless", "--dump-dom", "--enable-logging=stderr", "--disable-component-update"]
    command += [f"--{flag}" for flag in quiet.split()] + [f"--user-data-dir={folder / 'profile'}", *flags]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report with")
@pytest.mark.browser
@pytest.mark.parametrize("hostile", [False, True])
def test_the_slider_moves_the_counts_without_error_or_request(tmp_path, hostile):
    classes = ("<b>gut</b>", "</script>nicht") if hostile else ("Correct", "Incorrect")
    run, metrics = make_run(tmp_path / "run", name=HOSTILE if hostile else "part_{}.png", classes=classes)
    page = write_report(run)
    dom, console = browse(page, tmp_path)
    assert console == []
    assert "<svg" in dom  # the policy allowed the page's own script

    # and would stop the probe
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "probed.html").write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, console = browse(tmp_path / "probed.html", tmp_path, "--window-size=500,900")
    assert console == []
    found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)[1]))
    (tn, fp), (fn, tp) = metrics["test"]["confusion_matrix"]
    assert found["start"] == found["back"] == [fn, fp, tn, tp]
    assert found["rate"] == interval(metrics["test"]["escape_rate"])
    rows = read_csv(run / "predictions.csv")
    bad = np.array([row["label"] == classes[1] for row in rows])
    for step in found["steps"]:
        verdicts = Decision(float(step["threshold"]), "").verdicts([float(row["probability"]) for row in rows])
        rejected = verdicts == Verdict.REJECT
        counts = [bad & ~rejected, ~bad & rejected, ~bad & ~rejected, bad & rejected]
        assert step["counts"] == [int(count.sum()) for count in counts]
        assert step["rejects"] == rejected.sum()
        assert f"{counts[0].sum()} escape" in step["told"]
    assert len({tuple(step["counts"]) for step in found["steps"]}) > 2
    assert found["typed"] == "0.25"
    assert re.fullmatch(r"threshold [\d.]+\n\d+ escapes? \(.*\)\n\d+ overkills? \(.*\)", found["tip"])
    assert found["tip"].splitlines()[0] == found["clicked"]
    assert (found["charts"], found["unnamed"], found["loaded"], found["wide"]) == (7, 0, [], False)
