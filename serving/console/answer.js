// What a model answered, for people: scores as bars, pictures as pictures, numbers as a table.

import { h } from "./dom.js";
import { number, percent } from "./format.js";
import { paint } from "./pixels.js";
import { shapeOf } from "./values.js";

const MOST_BARS = 10;
const MOST_CELLS = 400;
const SCORE_NAME = /prob|score|logit|class|softmax/i;

/** The rows of an answer, each an object of outputs by name. */
export function rowsOf(document, signature) {
  const names = signature.outputs.map((spec) => spec.name);
  const named = (value) => (names.length === 1 ? { [names[0]]: value } : value);
  if (document.predictions) return document.predictions.map(named);
  if (document.results) return document.results.map((value) => (Array.isArray(value) ? { classes: value } : { value }));
  return [named(document.outputs)];
}

/** The scores that an output holds, as pairs of a label and a number, in the order of the classes; null for none. */
export function scoresOf(name, value, labels) {
  if (!Array.isArray(value) || value.length < 2) return null;
  if (value.every((pair) => Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "string")) {
    return value.map(([label, score], place) => [label || String(place), Number(score)]);
  }
  if (!value.every((score) => typeof score === "number")) return null;
  const known = labels?.length === value.length ? labels : null;
  return isDistribution(value) || known || SCORE_NAME.test(name)
    ? value.map((score, place) => [known?.[place] ?? String(place), score])
    : null;
}

function isDistribution(values) {
  const sum = values.reduce((total, value) => total + value, 0);
  return Math.abs(sum - 1) < 0.01 && values.every((value) => value >= 0 && value <= 1.0001);
}

/** The pair with the highest score. */
export function best(scores) {
  return scores.reduce((found, pair) => (pair[1] > found[1] ? pair : found));
}

/** One row in a sentence, for those who listen. */
export function spoken(row, labels) {
  return Object.entries(row)
    .map(([name, value]) => {
      const scores = scoresOf(name, value, labels);
      if (scores) return `${name}: ${best(scores)[0]}, ${scoreText(scores, best(scores)[1])}`;
      return `${name}: ${Array.isArray(value) ? `${value.flat(Infinity).length} values` : number(value)}`;
    })
    .join("; ");
}

/** One row of an answer. Plain values come first, for they say most. */
export function showRow(row, labels) {
  const entries = Object.entries(row).sort(([, a], [, b]) => Array.isArray(a) - Array.isArray(b));
  return h(
    "dl",
    { class: "outputs" },
    entries.map(([name, value]) => h("div", { class: "output" }, h("dt", {}, name), h("dd", {}, showValue(name, value, labels)))),
  );
}

/** Many rows as a table: of scores the best. */
export function showTable(rows, labels) {
  const names = Object.keys(rows[0] ?? {});
  const cell = (name, value) => {
    const scores = scoresOf(name, value, labels);
    if (scores) return `${best(scores)[0]} (${scoreText(scores, best(scores)[1])})`;
    return Array.isArray(value) ? value.flat(Infinity).map(number).join(", ") : textOf(value);
  };
  return table(
    ["row", ...names],
    rows.map((row, place) => [String(place + 1), ...names.map((name) => cell(name, row[name]))]),
    "The answer, row by row",
  );
}

function showValue(name, value, labels) {
  const scores = scoresOf(name, value, labels);
  if (scores) return showScores(scores);
  if (value?.b64 !== undefined) return showBytes(value.b64);
  if (!Array.isArray(value)) return h("output", { class: "value" }, textOf(value));
  return pictureOf(value) ?? showNumbers(value);
}

function textOf(value) {
  return typeof value === "number" ? number(value) : value?.b64 !== undefined ? `${value.b64.length} base64 digits` : String(value);
}

function scoreText(scores, score) {
  return isDistribution(scores.map(([, value]) => value)) || scores.every(([, value]) => value >= 0 && value <= 1)
    ? percent(score)
    : number(score);
}

function showScores(scores) {
  const [top] = best(scores);
  const shown = scores.length <= MOST_BARS + 2 ? scores : [...scores].sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
  const values = shown.map(([, score]) => score);
  const [low, high] = [Math.min(0, ...values), Math.max(values.every((value) => value <= 1) ? 1 : 0, ...values)];
  const rows = shown.map(([label, score]) => {
    const bar = h("span", { class: "bar-fill" });
    bar.style.width = `${(100 * (score - low)) / (high - low || 1)}%`;
    const name = h("th", { scope: "row" }, label);
    const drawn = h("td", { class: "bar-cell", "aria-hidden": "true" }, h("span", { class: "bar-track" }, bar));
    return h("tr", { class: label === top ? "top" : null }, name, drawn, h("td", { class: "bar-value" }, scoreText(scores, score)));
  });
  const more = scores.length > shown.length && h("p", { class: "hint" }, `The best ${shown.length} of ${scores.length} classes.`);
  return [
    h(
      "table",
      { class: "bars" },
      h("caption", { class: "unseen" }, "Scores by class"),
      h("thead", { class: "unseen" }, h("tr", {}, h("th", {}, "class"), h("td", {}), h("th", {}, "score"))),
      h("tbody", {}, rows),
    ),
    more,
  ];
}

/** A canvas for values that may be a picture, null for others. */
function pictureOf(value) {
  const [height, width, channels = 1, ...more] = shapeOf(value);
  const isPicture = height >= 7 && width >= 7 && [1, 3, 4].includes(channels) && !more.length;
  const flat = isPicture ? value.flat(Infinity) : [];
  if (!isPicture || !flat.every((one) => typeof one === "number")) return null;
  const [low, high] = flat.reduce(([a, b], one) => [Math.min(a, one), Math.max(b, one)], [Infinity, -Infinity]);
  const canvas = h("canvas", { class: "picture", role: "img", "aria-label": `A picture of ${width} by ${height} pixels` });
  const values = Float32Array.from(flat, (one) => (one - low) / (high - low || 1));
  paint(canvas, { width, height, channels, values });
  return h("figure", {}, canvas, h("figcaption", {}, `${width} × ${height}, from ${number(low)} (dark) to ${number(high)}`));
}

function showNumbers(value) {
  const shape = shapeOf(value);
  const what = h("p", { class: "hint" }, `${shape.join(" × ")} ${shape.length === 1 && shape[0] === 1 ? "value" : "values"}`);
  if (value.flat(Infinity).length > MOST_CELLS || shape.length > 2) {
    const text = JSON.stringify(value.flat(Infinity).slice(0, MOST_CELLS)).slice(1, -1).replaceAll(",", " ");
    return [h("pre", { class: "numbers", tabindex: "0" }, text + (value.flat(Infinity).length > MOST_CELLS ? " …" : "")), what];
  }
  const rows = shape.length === 1 ? value.map((one, place) => [String(place), textOf(one)]) : value.map((row, place) => [String(place), ...row.map(textOf)]);
  const header = shape.length === 1 ? ["index", "value"] : ["", ...Array.from({ length: shape[1] }, (_, place) => String(place))];
  return [table(header, rows, "Values"), what];
}

function table(header, rows, caption) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: "table" },
      h("thead", {}, h("tr", {}, header.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", {}, cell))))),
    ),
  );
}

/** Bytes that may be an encoded picture. */
function showBytes(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const shown = h("div", {}, h("p", { class: "hint" }, `${bytes.length} bytes`));
  createImageBitmap(new Blob([bytes])).then(
    (picture) => {
      const canvas = h("canvas", { class: "picture", role: "img", "aria-label": "The picture", width: picture.width, height: picture.height });
      canvas.getContext("2d").drawImage(picture, 0, 0);
      shown.prepend(canvas);
    },
    () => {}, // bytes of another kind
  );
  return shown;
}

/** How two rows of answers differ, in a sentence, and whether they do. */
export function comparison(one, other, labels, otherLabels) {
  const notes = Object.keys(one)
    .filter((name) => name in other)
    .map((name) => difference(name, one[name], other[name], labels, otherLabels));
  const differing = notes.filter((note) => note.differs);
  return { differs: differing.length > 0, text: (differing.length ? differing : notes).map((note) => note.text).join("; ") };
}

function difference(name, one, other, labels, otherLabels) {
  const [scores, otherScores] = [scoresOf(name, one, labels), scoresOf(name, other, otherLabels)];
  if (scores && otherScores) {
    const [[mine], [theirs]] = [best(scores), best(otherScores)];
    const most = Math.max(...scores.map(([, score], place) => Math.abs(score - (otherScores[place]?.[1] ?? 0))));
    const text = mine === theirs ? `${name} agree on ${mine}` : `${name}: ${mine} and ${theirs}`;
    return { differs: mine !== theirs, text: `${text}, scores differ by at most ${number(Number(most.toPrecision(2)))}` };
  }
  const [a, b] = [[one].flat(Infinity), [other].flat(Infinity)];
  if (a.every((value) => typeof value === "number") && a.length === b.length) {
    const most = Math.max(...a.map((value, place) => Math.abs(value - b[place])));
    return { differs: most > 1e-5, text: most ? `${name} differ by at most ${number(Number(most.toPrecision(2)))}` : `${name} are equal` };
  }
  const same = JSON.stringify(one) === JSON.stringify(other);
  return { differs: !same, text: same ? `${name} are equal` : `${name}: ${textOf(one)} and ${textOf(other)}` };
}
