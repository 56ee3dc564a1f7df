// Parts that need a person, and verdicts that a person overrides; each override becomes a row of the log.
let open = [], chosen = null, skipped = new Set();
const typing = (event) => ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);

let entering = null;

// a service that others reach has a token; all requests wait until a person has typed it
function enterToken(wrong) {
  at("token-text").dataset.text = wrong ? "wrongtoken" : "token";
  at("token-text").textContent = say(at("token-text").dataset.text);
  at("enter").hidden = false;
  entering = entering || new Promise((done) => {
    at("token").focus();
    at("enter").addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem("token", at("token").value.trim().replace(/[^ -~]/g, ""));
      at("token").value = "";
      at("enter").hidden = true;
      entering = null;
      done();
    }, { once: true });
  });
  return entering;
}

async function ask(path, options = {}) {
  while (true) {
    const token = sessionStorage.getItem("token");
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    if (token === sessionStorage.getItem("token")) await enterToken(Boolean(token));
  }
}

async function look() {
  const response = await ask("/v1/reviews");
  if (!response.ok) return;
  const answer = await response.json();
  open = answer.rows;
  at("reviews-count").textContent = answer.count ? say("count").replace("{n}", answer.count) : say("none");
  // somebody else may have judged it
  if (chosen && !chosen.picked && !open.some((row) => row.row === chosen.row)) chosen = null;
  if (!chosen) next();
}

function next() {
  let waiting = open.filter((row) => !skipped.has(row.row));
  if (!waiting.length && open.length) { skipped = new Set(); waiting = open; }
  choose(waiting[0] || null);
}

async function choose(row, picked = false) {
  chosen = row && { ...row, picked };
  at("judge").hidden = !row;
  if (!row) return;
  const number = row.row, photo = at("review-photo");
  at("reason").value = "";
  describe();
  const response = await ask(`/v1/rows/${number}/photo`).catch(() => null);
  const picture = response && response.ok ? await response.blob() : null;
  if (!chosen || chosen.row !== number) return;
  if (photo.src) URL.revokeObjectURL(photo.src);
  photo.hidden = !picture;
  at("review-none").hidden = Boolean(picture);
  if (picture) photo.src = URL.createObjectURL(picture);
}

function describe() {
  if (!chosen) return;
  at("review-part").textContent = at("review-photo").alt = `${say("part")} ${chosen.part || chosen.row}`;
  const facts = [say(chosen.verdict), reasonOf(chosen), chanceOf(chosen), new Date(chosen.time).toLocaleString(language)];
  at("review-why").textContent = facts.filter(Boolean).join(" · ");
}

async function pick(number) {
  const response = await ask(`/v1/rows/${number}`);
  if (!response.ok) return;
  at("said").textContent = "";
  await choose(await response.json(), true);
  at("reviews").scrollIntoView({ block: "nearest" });
  at("good").focus();
}

async function judge(verdict) {
  if (!chosen) return;
  const name = at("name").value.trim(), reason = at("reason").value.trim(), row = chosen;
  if (!name) { at("said").textContent = say("neednamed"); at("name").focus(); return; }
  if (!reason && !["REVIEW", verdict === "good" ? "PASS" : "REJECT"].includes(row.verdict)) {
    at("said").textContent = say("needreason") + say(row.verdict);
    at("reason").focus();
    return;
  }
  const body = JSON.stringify({ row: row.row, verdict, name, reason });
  const response = await ask("/v1/override", { method: "POST", headers: { "Content-Type": "application/json" }, body })
    .catch(() => null);
  if (!response || !response.ok) { await refused(response, "unsaved"); return; }
  if (own && own.key === "unsaved") alarm(null);
  localStorage.setItem("name", name);
  open = open.filter((one) => one.row !== row.row);
  next();
  at("said").textContent = `${say("noted")}${say("part")} ${row.part || row.row}: ${say(`is${verdict}`)} (${name})`;
  await look();
}

function skip() {
  if (chosen) skipped.add(chosen.row);
  next();
}

at("name").value = localStorage.getItem("name") || "";
at("good").addEventListener("click", () => judge("good"));
at("bad").addEventListener("click", () => judge("bad"));
at("skip").addEventListener("click", skip);
document.addEventListener("keydown", (event) => {
  const act = { g: () => judge("good"), b: () => judge("bad"), n: skip }[event.key.toLowerCase()];
  if (!act || typing(event) || event.ctrlKey || event.metaKey || event.altKey || at("judge").hidden) return;
  event.preventDefault();
  act();
});

// the product that the line makes now
function showProducts(products, product) {
  const select = at("product");
  at("products").hidden = !products.length;
  if (document.activeElement === select) return;
  const names = product ? products : ["", ...products];
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name || "–", name)));
  }
  select.value = product;
}
at("product").addEventListener("change", async (event) => {
  event.target.blur();  // the service says what is in force
  const body = JSON.stringify({ product: event.target.value });
  const response = await ask("/v1/product", { method: "POST", headers: { "Content-Type": "application/json" }, body })
    .catch(() => null);
  if (!response || !response.ok) await refused(response, "noproduct");
  else if (own && ["noproduct", "refused"].includes(own.key)) alarm(null);
});

// verdicts on photos that did not come from this page
let newest = null;
async function follow() {
  const response = await ask(`/v1/rows?after=${newest === null ? Number.MAX_SAFE_INTEGER : newest}`);
  if (!response.ok) return;
  const answer = await response.json();
  if (newest === null) newest = answer.newest;
  if (answer.newest - newest > answer.rows.length) {  // a line faster than this page: only its last parts
    newest = answer.newest - 24;
    return;
  }
  for (const row of answer.rows) {
    newest = row.row;
    if (row.overrides !== null || row.source === PAGE) continue;
    const seen = await ask(`/v1/rows/${row.row}/photo`).catch(() => null);
    const url = seen && seen.ok ? URL.createObjectURL(await seen.blob()) : "";
    if (at("video").hidden) {
      at("hint").hidden = Boolean(url);
      at("photo").hidden = !url;
      at("photo").src = url;
    }
    note(row, url, row.part || String(row.row));
  }
}

async function watch() {
  try {
    const seen = await fetch("/health");
    if (!seen.ok) throw seen;
    const response = await ask("/v1/state");
    if (response.ok) {
      const state = await response.json();
      alarms(state.alarms);
      showProducts(state.products, state.product);
      ownCamera = state.camera;
      if (ownCamera) at("shoot").hidden = false;
      shift = state.shift;
      if (shift) showCounts(shift.counts);
      at("reviews").hidden = at("master").hidden = !state.log;
      if (state.blocked && !(chosen && chosen.picked)) await pick(state.blocked);  // a person has to sign it
      if (state.log) { await look(); await follow(); }
    }
  } catch {
    alarm("gone");
  }
}
(async () => {
  while (true) {
    await watch();
    await new Promise((done) => { setTimeout(done, 1000); });
  }
})();
