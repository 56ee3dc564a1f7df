"""The audit's page in a real browser: its keys set corrections, which are saved and applied by a second audit."""

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qc_lightning import audit as audit_command
from test_audit import _checks, _part
from test_report_browser import CHROMIUM, browse

# presses keys as a person would, and records what the button saves
PROBE = """
<pre id="probe"></pre><script>
(() => {
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  HTMLAnchorElement.prototype.click = () => {};
  URL.createObjectURL = (blob) => {
    blob.text().then((text) => { document.getElementById("probe").textContent = text; });
    return "#";
  };
  press("j"); press("w");
  press("ArrowRight"); press("s");
  press("j"); press("x"); press("x"); press("x");
  document.getElementById("fix-save").click();
})();
</script>"""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")
def test_keys_save_the_corrections_that_a_training_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: Callable[..., int]
) -> None:
    root = tmp_path / "photos"
    for seed in range(30):
        path = root / ("Incorrect" if seed % 2 else "Correct") / f"{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_part(seed)).save(path)
    for name in ("000", "002"):  # two pairs of copies, one photo of each in the other class
        shutil.copy(root / "Correct" / f"{name}.png", root / "Incorrect" / f"a, {name}.png")
    monkeypatch.chdir(tmp_path)
    settings = (f"data.root={root}", "quick=true", "data.image_size=64")
    assert call(audit_command.main, *settings, "output=found") == 0
    page = tmp_path / "found" / "audit.html"
    assert browse(page, tmp_path)[1] == []  # the policy allows the page's own script
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    (tmp_path / "probed.html").write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, console = browse(tmp_path / "probed.html", tmp_path, "--virtual-time-budget=3000")
    assert console == []
    probe = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert probe is not None
    (tmp_path / "corrections.csv").write_text(html.unescape(probe[1]), encoding="utf-8")
    assert html.unescape(probe[1]).splitlines() == [
        "path,label,same_part_as,leave_out",
        "Correct/000.png,Incorrect,,",
        '"Incorrect/a, 000.png",,Correct/000.png,',
        "Correct/002.png,,,yes",
    ]
    capsys.readouterr()
    assert call(audit_command.main, *settings, "output=again", "data.corrections=corrections.csv") == 0
    done = "corrections.csv: 1 labels changed, 1 pairs of photos joined to one part, 1 left out."
    assert done in capsys.readouterr().out.replace("\n      ", " ")
    assert _checks(tmp_path / "again")["copies_both_labels"]["result"] == "fine"
