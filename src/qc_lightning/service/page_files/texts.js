// What the service says (reasons, errors, alarms) is English in its log and its API; the page shows it in its language.
// In texts.json, {} stands for words without parentheses, {#} for a number, {*} for anything; {1} is the first of them.
const PLACES = { "{}": "([^()]+?)", "{#}": "(-?[\\d.,]+%?)", "{*}": "(.+?)" };
const patterns = {};  // by language

const pattern = (english) => new RegExp(`^${english.split(/(\{[#*]?\})/)
  .map((piece) => PLACES[piece] || piece.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("")}$`);

function local(text) {
  if (!TEXTS[language]) return text;
  patterns[language] = patterns[language] || Object.entries(TEXTS[language]).map(([english, own]) => [pattern(english), own]);
  for (const [wanted, own] of patterns[language]) {
    const found = text.match(wanted);
    if (found) return own.replace(/\{(\d)\}/g, (_, place) => local(found[place]));
  }
  for (const mark of ["; ", ", "]) {
    const parts = text.split(new RegExp(`${mark}(?![^(]*\\))`));  // not within parentheses
    if (parts.length > 1) return parts.map(local).join(mark);
  }
  const [first, ...rest] = text.split(": ");
  if (rest.length) return local(first) + (language === "fr" ? " : " : ": ") + local(rest.join(": "));
  return localNumber(text);
}

function localNumber(text) {
  if (!/^-?[\d,]*\.?\d+%?$/.test(text) || !/[.,]/.test(text)) return text;
  const digits = (text.match(/\.(\d+)/) || ["", ""])[1].length, percent = text.endsWith("%");
  const value = Number(text.replace(/[,%]/g, "")) / (percent ? 100 : 1);
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits,
    style: percent ? "percent" : "decimal" });
}
