const at = (id) => document.getElementById(id);
const incorrect = JSON.parse(at("view").dataset.classes)[1];
const PAGE = new URLSearchParams(location.search).get("camera") || `page-${Math.random().toString(36).slice(2, 8)}`;
const counts = { PASS: 0, REVIEW: 0, REJECT: 0 };
let language = TEXT[navigator.language.slice(0, 2)] ? navigator.language.slice(0, 2) : "en";
let unclear = 0, last = null, shift = null, ownCamera = false, queue = Promise.resolve(), loud = true, audio = null;
const say = (key) => TEXT[language][key];

function label() {
  document.documentElement.lang = language;
  at("language").value = language;
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = say(node.dataset.text); });
  at("strip").setAttribute("aria-label", say("last"));
  Object.keys(counts).forEach((name) => { at(`n-${name}-name`).textContent = say(name); });
  if (last) show(last);
  at("said").textContent = "";
  showAlarms();
  describe();
}

let own = null, ofService = {};

// what this page noticed itself; extra: details, as the service gave them
function alarm(key, extra = "") {
  own = key && { key, extra };
  if (key) tone(220, 0.6);
  showAlarms();
}

// what the service says of itself
function alarms(found) {
  if (Object.keys(found).some((name) => !(name in ofService))) tone(220, 0.6);
  ofService = found;
  if (own && own.key === "gone") own = null;
  showAlarms();
}

function showAlarms() {
  const lines = Object.entries(ofService).map(([name, words]) => say(`alarm_${name.split(" ")[0]}`) + local(words));
  if (own) lines.unshift(`${say(own.key).trim()} ${local(own.extra)}`);
  at("alarm").hidden = !lines.length;
  at("alarm").replaceChildren(...lines.map((line) => {
    const item = document.createElement("div");
    item.textContent = line;
    return item;
  }));
}

function tone(pitch, seconds) {
  if (!loud) return;
  audio = audio || new AudioContext();
  const wave = audio.createOscillator(), volume = audio.createGain();
  wave.frequency.value = pitch;
  volume.gain.value = 0.15;
  wave.connect(volume).connect(audio.destination);
  wave.start();
  wave.stop(audio.currentTime + seconds);
}

// what a request got instead of an answer; no response: the service is gone
async function refused(response, key = "refused") {
  if (!response) return alarm("gone");
  const { detail } = await response.json().catch(() => ({}));
  return alarm(response.status === 503 && key === "refused" ? "busy" : key, String(detail || response.status));
}

const reasonOf = (row) => [row.reason, row.error].filter(Boolean).map(local).join(": ");

function chanceOf(row) {
  if (row.probability === null) return "";
  const digits = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return `${say("chance")} ${incorrect}: ${row.probability.toLocaleString(language, digits)}`;
}

function show(answer) {
  last = answer;
  at("verdict").className = answer.verdict;
  at("word").textContent = say(answer.verdict);
  at("why").textContent = reasonOf(answer) || chanceOf(answer);
  at("heat").hidden = !answer.evidence || answer.verdict === "PASS";
  if (answer.evidence) at("heat").src = `data:image/png;base64,${answer.evidence}`;
  fit();
}

// without a verdict of its own no photo stands beside that of the part before
function blank(key) {
  last = null;
  at("verdict").className = "";
  at("word").textContent = "–";
  at("why").dataset.text = key;
  at("why").textContent = say(key);
  at("heat").hidden = true;
}

function fit() {
  const photo = at("photo"), heat = at("heat");
  if (photo.hidden || !photo.naturalWidth) { heat.hidden = true; return; }
  const scale = Math.min(photo.offsetWidth / photo.naturalWidth, photo.offsetHeight / photo.naturalHeight);
  const width = photo.naturalWidth * scale, height = photo.naturalHeight * scale;
  Object.assign(heat.style, { width: `${width}px`, height: `${height}px`,
    left: `${photo.offsetLeft + (photo.offsetWidth - width) / 2}px`, top: `${photo.offsetTop + (photo.offsetHeight - height) / 2}px` });
}

async function inspect(blob, name) {
  const url = URL.createObjectURL(blob);
  at("hint").hidden = true;
  if (at("video").hidden) { at("photo").src = url; at("photo").alt = name; at("photo").hidden = false; }
  at("photo").onload = fit;
  blank("inspecting");
  const kind = at("master").value;  // for one photo
  at("master").value = "";
  const what = kind ? `master=${kind}` : `part=${encodeURIComponent(name.slice(0, 200))}`;
  const query = `evidence=true&camera=${encodeURIComponent(PAGE)}&${what}`;
  const response = await ask(`/v1/inspect?${query}`, { method: "POST", body: blob }).catch(() => null);
  if (!response || ![200, 422].includes(response.status)) {  // 422: unreadable, with a verdict
    blank("refused");
    return refused(response);
  }
  alarm(null);
  return note(await response.json(), url, name);
}

// since the shift began, where the service has a log; else since the page was opened
function showCounts(numbers) {
  Object.entries(numbers).forEach(([name, count]) => { at(`n-${name}`).textContent = count; });
  at("shift").hidden = !shift;
  if (!shift) return;
  const time = new Date(shift.since).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  at("shift").textContent = say("since").replace("{t}", time);
}

// a verdict, of this page or of another source
function note(answer, url, name) {
  counts[answer.verdict] += 1;
  if (!shift) showCounts(counts);
  unclear = answer.verdict === "REVIEW" ? unclear + 1 : 0;
  if (unclear >= 5) alarm("same");
  else if (own && ["same", "busy"].includes(own.key)) alarm(null);
  show(answer);
  tone({ PASS: 880, REVIEW: 440, REJECT: 260 }[answer.verdict], answer.verdict === "PASS" ? 0.08 : 0.35);
  const item = document.createElement("li"), picture = document.createElement("img");
  const button = document.createElement("button");
  item.className = answer.verdict;
  if (url) picture.src = url;
  picture.alt = name;
  const word = document.createElement("span");
  word.dataset.text = answer.verdict;
  word.textContent = say(answer.verdict);
  button.append(picture, document.createElement("br"), word);
  button.disabled = !answer.row;
  button.title = answer.row ? say("override") : name;
  button.addEventListener("click", () => pick(answer.row));
  item.append(button);
  if (answer.verdict === "REVIEW" && answer.row) look().catch(() => {});  // the next look says so
  at("strip").prepend(item);
  while (at("strip").children.length > 24) {
    URL.revokeObjectURL(at("strip").lastChild.querySelector("img").src);
    at("strip").lastChild.remove();
  }
}

// one after the other, in the order in which they were given
const add = (files) => [...files].forEach((file) => { queue = queue.then(() => inspect(file, file.name)); });

// by the service's own camera; the part appears with the rows of the log
async function trigger() {
  const kind = at("master").value;
  at("master").value = "";
  const response = await ask(`/v1/trigger${kind ? `?master=${kind}` : ""}`, { method: "POST" }).catch(() => null);
  if (response && [200, 422].includes(response.status)) return alarm(null);
  blank("refused");
  return refused(response);
}

async function shoot() {
  const video = at("video"), canvas = document.createElement("canvas");
  if (video.hidden) { if (ownCamera) await trigger(); return; }
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let light = 0;
  for (let i = 0; i < pixels.length; i += 400) light += pixels[i + 1];
  const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
  queue = queue.then(() => inspect(blob, new Date().toISOString()));
  await queue;
  if (light / (pixels.length / 400) < 8) alarm("dark");
}

at("file").addEventListener("change", (event) => add(event.target.files));
at("camera").addEventListener("click", async () => {
  if (!navigator.mediaDevices) return alarm("nohttps");  // browsers hide it from pages of another machine without TLS
  try {
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return alarm("nocamera", error.message);
  }
  at("video").hidden = at("shoot").hidden = false;
  at("photo").hidden = at("hint").hidden = true;
  return at("video").play();
});
at("shoot").addEventListener("click", shoot);
at("sound").addEventListener("click", () => {
  loud = !loud;
  at("sound").setAttribute("aria-pressed", loud);
});
at("language").addEventListener("change", (event) => { language = event.target.value; label(); });
document.addEventListener("keydown", (event) => {
  if (event.code === "Space" && !typing(event) && event.target.tagName !== "BUTTON") { event.preventDefault(); shoot(); }
});
const view = at("view");
view.addEventListener("dragover", (event) => { event.preventDefault(); view.classList.add("over"); });
view.addEventListener("dragleave", () => view.classList.remove("over"));
view.addEventListener("drop", (event) => { event.preventDefault(); view.classList.remove("over"); add(event.dataTransfer.files); });
addEventListener("resize", fit);
