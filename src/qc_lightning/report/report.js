"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const { sweep, correct, incorrect, classes } = data;
  const at = (id) => document.getElementById(id);
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const tidy = (threshold) => String(Number(threshold.toPrecision(6)));
  const short = (name) => (name.length > 24 ? name.slice(0, 21) + "..." : name);

  // the same rounding as the tables that Python writes
  function percent(share, decimals = 0) {
    while (decimals < 3 && share > 0 && share < 1 && [0, 100].includes(Number((100 * share + 1e-9).toFixed(decimals)))) decimals++;
    return (100 * share + 1e-9).toFixed(decimals) + "%";
  }
  function interval(share, low, high) {
    const decimals = high - low >= 0.04 ? 0 : high - low >= 0.004 ? 1 : 2;
    return `${percent(share, decimals)} (${percent(low, decimals)} to ${percent(high, decimals)})`;
  }

  // ---- charts: plain SVG, drawn to the width there is, drawn again when that changes
  const charts = [];
  const followers = []; // of the slider
  function add(parent, tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }
  function ticks(low, high) {
    const raw = (high - low) / 5 || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 5].find((m) => m * power >= raw) || 10);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
    return found;
  }
  function chart(id, spec, paint) {
    const box = at(id);
    if (box) charts.push(() => draw(box, spec, paint));
  }
  function draw(box, { x, y, summary, aspect = 0.74, most = 330 }, paint) {
    const width = Math.max(240, box.clientWidth || 480), height = Math.round(Math.min(most, width * aspect));
    const left = 50, right = 22, top = 10, bottom = 42;
    box.replaceChildren();
    const svg = add(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${box.dataset.title}. ${summary}` });
    const X = (v) => left + ((v - x.low) / (x.high - x.low || 1)) * (width - left - right);
    const Y = (v) => height - bottom - ((v - y.low) / (y.high - y.low || 1)) * (height - top - bottom);
    for (const v of y.ticks || ticks(y.low, y.high)) {
      add(svg, "line", { class: "grid", x1: left, x2: width - right, y1: Y(v), y2: Y(v) });
      add(svg, "text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, y.show(v));
    }
    for (const v of x.ticks || ticks(x.low, x.high)) {
      add(svg, "line", { class: "grid", x1: X(v), x2: X(v), y1: top, y2: height - bottom });
      add(svg, "text", { x: X(v), y: height - bottom + 16, "text-anchor": "middle" }, x.show(v));
    }
    add(svg, "text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label);
    add(svg, "text", { transform: `translate(12 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label);
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    box.append(tip);
    const scale = () => svg.getBoundingClientRect().width / width;
    const say = (text, px, py) => {
      tip.hidden = text === null;
      if (text === null) return;
      tip.textContent = text;
      const k = scale();
      tip.style.left = `${Math.max(0, Math.min(px * k + 12, box.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${Math.max(0, py * k - tip.offsetHeight - 10)}px`;
    };
    const where = (event) => {
      const frame = svg.getBoundingClientRect();
      return [(event.clientX - frame.left) / scale(), (event.clientY - frame.top) / scale()];
    };
    svg.addEventListener("pointerleave", () => say(null));
    paint({ svg, X, Y, left, right: width - right, top, bottom: height - bottom, say, where });
  }
  const share = (label) => ({ low: 0, high: 1, label, show: (v) => `${Math.round(100 * v)}%` });
  const path = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  const diamond = (px, py) => `M${px - 8} ${py}L${px} ${py - 8}L${px + 8} ${py}L${px} ${py + 8}Z`;

  // ---- what a threshold does
  let index = sweep ? sweep.run.indexOf(true) : 0;
  const counts = (i) => {
    const fn = sweep.escapes[i], fp = sweep.overkills[i];
    return { fn, fp, tp: incorrect - fn, tn: correct - fp };
  };
  const described = (i) =>
    `threshold ${tidy(sweep.threshold[i])}\n${plural(sweep.escapes[i], "escape")} (${percent(sweep.escapes[i] / incorrect)})\n` +
    `${plural(sweep.overkills[i], "overkill")} (${percent(sweep.overkills[i] / correct)})`;

  function show(i) {
    index = i;
    const { fn, fp, tn, tp } = counts(i), threshold = sweep.threshold[i];
    for (const [id, n] of Object.entries({ fn, fp, tn, tp })) at(id).textContent = n.toLocaleString("en");
    at("escape-rate").textContent = interval(fn / incorrect, sweep.escape_low[i], sweep.escape_high[i]);
    at("overkill-rate").textContent = interval(fp / correct, sweep.overkill_low[i], sweep.overkill_high[i]);
    at("accuracy").textContent = percent((tn + tp) / (correct + incorrect));
    at("at").textContent = tidy(threshold);
    at("slider").value = i;
    at("slider").setAttribute("aria-valuetext", described(i).replaceAll("\n", ", "));
    if (document.activeElement !== at("typed")) at("typed").value = tidy(threshold);
    for (const row of document.querySelectorAll("#verdicts tbody tr")) {
      const pass = row.dataset.p !== "" && Number(row.dataset.p) < threshold;
      row.lastElementChild.textContent = pass ? "PASS" : "REJECT";
      row.lastElementChild.className = pass === (row.dataset.bad === "1") ? "wrong" : "";
    }
    for (const follow of followers) follow(i);
  }

  // one point a threshold: hover reads it, a click moves the slider there
  function curve(id, xLabel, yLabel, summary, place, reference) {
    chart(id, { x: share(xLabel), y: share(yLabel), summary, aspect: 0.85, most: 420 }, ({ svg, X, Y, say, where }) => {
      svg.parentElement.classList.add("hot");
      if (reference) add(svg, "path", { class: "ref", d: path(reference.map(([a, b]) => [X(a), Y(b)])) });
      const points = sweep.threshold.map((_, i) => place(counts(i))).map((p) => p && [X(p[0]), Y(p[1])]);
      add(svg, "path", { class: "curve", d: path(points.filter(Boolean)) });
      const run = points[sweep.run.indexOf(true)];
      if (run) add(svg, "path", { class: "run-mark", d: diamond(...run) });
      const mark = add(svg, "circle", { class: "at-mark", r: 6 });
      followers.push((i) => {
        mark.setAttribute("visibility", points[i] ? "visible" : "hidden");
        if (points[i]) mark.setAttribute("cx", points[i][0]), mark.setAttribute("cy", points[i][1]);
      });
      const nearest = (event) => {
        const [px, py] = where(event);
        let best = -1, least = Infinity;
        points.forEach((p, i) => {
          const distance = p ? (p[0] - px) ** 2 + (p[1] - py) ** 2 : Infinity;
          if (distance < least) (least = distance), (best = i);
        });
        return best;
      };
      svg.addEventListener("pointermove", (event) => {
        const i = nearest(event);
        if (i >= 0) say(described(i), points[i][0], points[i][1]);
      });
      svg.addEventListener("click", (event) => show(Math.max(0, nearest(event))));
    });
  }

  if (sweep && correct && incorrect) {
    const start = `At this run's threshold ${tidy(sweep.threshold[index])}: ${plural(sweep.escapes[index], "escape")} of ${incorrect}, ${plural(sweep.overkills[index], "overkill")} of ${correct}.`;
    curve("tradeoff", "overkill rate", "escape rate", start, ({ fn, fp }) => [fp / correct, fn / incorrect]);
    curve("roc", "overkill rate", "caught (recall)", start, ({ fp, tp }) => [fp / correct, tp / incorrect], [[0, 0], [1, 1]]);
    const base = incorrect / (correct + incorrect);
    curve("pr", "caught (recall)", "precision", start, ({ fp, tp }) => (tp + fp ? [tp / incorrect, tp / (tp + fp)] : null), [[0, base], [1, base]]);

    const slider = at("slider"), typed = at("typed");
    slider.max = sweep.threshold.length - 1;
    slider.addEventListener("input", () => show(Number(slider.value)));
    typed.addEventListener("input", () => {
      const wanted = typed.valueAsNumber;
      if (!(wanted >= 0 && wanted <= 1)) return;
      let best = 0;
      sweep.threshold.forEach((t, i) => {
        if (Math.abs(t - wanted) < Math.abs(sweep.threshold[best] - wanted)) best = i;
      });
      show(best);
    });
    typed.addEventListener("blur", () => show(index));
    at("back").addEventListener("click", () => show(sweep.run.indexOf(true)));
    document.querySelector(".controls").hidden = false;
  }

  if (data.histogram) {
    const bins = data.histogram, size = bins.correct.length;
    const up = bins.correct.map((n) => n / Math.max(correct, 1)), down = bins.incorrect.map((n) => n / Math.max(incorrect, 1));
    const reach = Math.max(...up, ...down, 0.05) * 1.12;
    const x = { low: 0, high: 1, label: `P(${short(classes[1])})`, show: (v) => v.toFixed(1) };
    const y = { low: -reach, high: reach, label: "share of its class", show: (v) => `${Math.round(Math.abs(100 * v))}%` };
    const summary = `${classes[0]} above the axis, ${classes[1]} below it.`;
    chart("histogram", { x, y, summary, aspect: 0.6, most: 280 }, ({ svg, X, Y, left, right, top, bottom, say, where }) => {
      for (let i = 0; i < size; i++) {
        const box = { x: X(i / size) + 1, width: X(1 / size) - X(0) - 2 };
        add(svg, "rect", { ...box, class: "bar correct", y: Y(up[i]), height: Y(0) - Y(up[i]) });
        add(svg, "rect", { ...box, class: "bar incorrect", y: Y(0), height: Y(-down[i]) - Y(0) });
      }
      add(svg, "line", { class: "cut", x1: left, x2: right, y1: Y(0), y2: Y(0), "stroke-width": 1 });
      add(svg, "text", { class: "name", x: right - 6, y: top + 14, "text-anchor": "end" }, short(classes[0]));
      add(svg, "text", { class: "name", x: left + 6, y: bottom - 6 }, short(classes[1]));
      if (sweep && correct && incorrect) {
        const cut = add(svg, "line", { class: "cut", y1: top, y2: bottom, "stroke-dasharray": "6 3" });
        followers.push((i) => {
          for (const end of ["x1", "x2"]) cut.setAttribute(end, X(sweep.threshold[i]));
        });
      }
      svg.addEventListener("pointermove", (event) => {
        const [px, py] = where(event);
        const i = Math.floor(((px - left) / (right - left)) * size);
        if (i < 0 || i >= size) return say(null);
        say(`${(i / size).toFixed(2)} to ${((i + 1) / size).toFixed(2)}\n${bins.correct[i]} ${short(classes[0])}\n${bins.incorrect[i]} ${short(classes[1])}`, px, py);
      });
    });
  }

  if (data.reliability) {
    const spec = { x: share("probability given"), y: share(`really ${short(classes[1])}`), summary: "The numbers are in the table below.", aspect: 0.85 };
    chart("reliability", spec, ({ svg, X, Y, say }) => {
      add(svg, "path", { class: "ref", d: path([[X(0), Y(0)], [X(1), Y(1)]]) });
      for (const point of data.reliability_before ?? []) add(svg, "circle", { class: "dot before", cx: X(point.said), cy: Y(point.true), r: 4 });
      for (const point of data.reliability) {
        const px = X(point.said), py = Y(point.true);
        add(svg, "line", { class: "err", x1: px, x2: px, y1: Y(point.low), y2: Y(point.high) });
        const dot = add(svg, "circle", { class: "dot", cx: px, cy: py, r: 5 });
        const text = `${plural(point.n, "photo")}\ngiven ${percent(point.said)}\nreally ${interval(point.true, point.low, point.high)}`;
        dot.addEventListener("pointermove", () => say(text, px, py));
        dot.addEventListener("pointerleave", () => say(null));
      }
    });
  }

  for (const kind of ["accuracy", "loss"]) {
    const series = ["train", "val"].map((subset) => [subset, data.history.filter((row) => row[`${subset}_${kind}`] != null)]).filter(([, rows]) => rows.length);
    if (!series.length) continue;
    const epochs = data.history.map((row) => row.epoch);
    const values = series.flatMap(([subset, rows]) => rows.map((row) => row[`${subset}_${kind}`]));
    const low = Math.min(...epochs), high = Math.max(...epochs);
    const x = { low: low - 0.5, high: high + 0.5, label: "epoch", show: (v) => v, ticks: ticks(low, high).filter(Number.isInteger) };
    const most = Math.max(...values) * 1.08 || 1;
    const y = kind === "accuracy" ? share("accuracy") : { low: 0, high: most, label: "loss", show: (v) => Number(v.toPrecision(3)) };
    chart(`learning-${kind}`, { x, y, summary: "The numbers are in the table below." }, ({ svg, X, Y, left, right, top, bottom, say, where }) => {
      series.forEach(([subset, rows], i) => {
        const points = rows.map((row) => [X(row.epoch), Y(row[`${subset}_${kind}`])]);
        add(svg, "path", { class: `curve ${subset}`, d: path(points) });
        if (points.length < 60) for (const [cx, cy] of points) add(svg, "circle", { class: `dot ${subset}`, cx, cy, r: 3 });
        const line = (kind === "accuracy" ? bottom - 34 : top + 14) + 18 * i;
        add(svg, "line", { class: `curve ${subset}`, x1: right - 112, x2: right - 84, y1: line - 4, y2: line - 4 });
        add(svg, "text", { class: "name", x: right - 78, y: line }, subset === "train" ? "training" : "validation");
      });
      svg.addEventListener("pointermove", (event) => {
        const [px, py] = where(event);
        const nearest = data.history.reduce((a, b) => (Math.abs(X(b.epoch) - px) < Math.abs(X(a.epoch) - px) ? b : a));
        const lines = series.map(([subset]) => [subset, nearest[`${subset}_${kind}`]]).filter(([, v]) => v != null);
        say([`epoch ${nearest.epoch}`, ...lines.map(([subset, v]) => `${subset} ${kind === "loss" ? v.toPrecision(4) : percent(v)}`)].join("\n"), px, py);
      });
    });
  }

  function redraw() {
    followers.length = 0;
    for (const again of charts) again();
    if (sweep && correct && incorrect) show(index);
  }
  redraw();
  let width = window.innerWidth, later = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(later);
    later = setTimeout(redraw, 120);
  });
  // on paper nothing can be opened
  const closed = () => [...document.querySelectorAll("details:not(.long):not([open])")];
  let opened = [];
  window.addEventListener("beforeprint", () => (opened = closed()).forEach((node) => (node.open = true)));
  window.addEventListener("afterprint", () => opened.forEach((node) => (node.open = false)));
})();
