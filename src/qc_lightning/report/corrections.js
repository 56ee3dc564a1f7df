"use strict";
// Buttons beside photos: what they say is kept until it is saved as corrections.csv. Keys: arrows or J and K move from
// photo to photo, W, S and X press the buttons of the photo that has the focus, O opens its file.
(() => {
  const boxes = [...document.querySelectorAll(".fix")];
  if (!boxes.length) return;
  const said = new Map(); // path -> {label, twin, out}, as in corrections.csv
  let saved = true;
  const bar = document.querySelector(".save");
  // what was corrected before these photos were read: it is saved again with the rest
  for (const row of JSON.parse(bar.dataset.before)) {
    said.set(row.path, { label: row.label, twin: row.same_part_as, out: row.leave_out });
  }
  const shots = boxes.map((box) => box.closest("[data-shot]"));
  shots.forEach((shot) => { shot.tabIndex = 0; });

  function show() {
    for (const box of boxes) {
      const now = said.get(box.dataset.path) || {};
      for (const button of box.querySelectorAll("button")) {
        const on = Boolean(now[button.dataset.fix]) && now[button.dataset.fix] === value(box, button.dataset.fix);
        button.setAttribute("aria-pressed", String(on));
      }
    }
    const count = [...said.values()].filter((now) => now.label || now.twin || now.out).length;
    bar.hidden = count === 0;
    document.getElementById("fix-count").textContent = `${count} photo${count === 1 ? "" : "s"} corrected`;
  }

  function value(box, what) {
    return { label: box.dataset.otherLabel, twin: box.dataset.twin, out: "yes" }[what];
  }

  function press(box, what) {
    const now = said.get(box.dataset.path) || {};
    const pressed = value(box, what);
    if (!pressed) return;
    now[what] = now[what] === pressed ? "" : pressed;
    said.set(box.dataset.path, now);
    saved = false;
    show();
  }

  for (const box of boxes) {
    box.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) press(box, button.dataset.fix);
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    const shot = event.target.closest("[data-shot]");
    const at = shots.indexOf(shot);
    const step = { ArrowRight: 1, ArrowDown: 1, j: 1, ArrowLeft: -1, ArrowUp: -1, k: -1 }[event.key];
    if (step && (at >= 0 || event.key === "j" || event.key === "k")) {
      const next = shots[at < 0 ? 0 : Math.min(shots.length - 1, Math.max(0, at + step))];
      for (let up = next.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest", behavior: "instant" });
      event.preventDefault();
    }
    const what = { w: "label", s: "twin", x: "out" }[event.key.toLowerCase()];
    if (what && at >= 0) press(boxes[at], what);
    if (event.key === "o" && at >= 0) shots[at].querySelector("a[href]")?.click();
  });

  function field(text) {
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  document.getElementById("fix-save").addEventListener("click", () => {
    const rows = [["path", "label", "same_part_as", "leave_out"]];
    for (const [path, now] of said) {
      if (now.label || now.twin || now.out) rows.push([path, now.label || "", now.twin || "", now.out || ""]);
    }
    const text = rows.map((row) => row.map(field).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
    URL.revokeObjectURL(link.href);
    saved = true;
  });
  show();
  addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
})();
