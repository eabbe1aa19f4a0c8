// One model: its versions, what it did lately, its signatures.

import { mean, quantile } from "./activity.js";
import { sparkline } from "./charts.js";
import { h, tabs } from "./dom.js";
import { bytes, count, milliseconds, number, percent, rate, tensor } from "./format.js";
import { playground } from "./playground.js";

export const STATES = {
  START: "waiting",
  LOADING: "loading",
  AVAILABLE: "available",
  UNLOADING: "unloading",
  END: "ended",
};

/** How a version is doing, in a word: what failed is not just ended. */
export function stateOf(version) {
  return version.error ? "failed" : STATES[version.state];
}

/** The page of a model, on one of its versions; those that are loaded have their details. */
export function showModel(model, version, signatureName, go) {
  const heading = h("h1", { id: "model-name" }, model.name);
  const versions = h(
    "div",
    { class: "versions", role: "group", "aria-label": "Versions" },
    model.versions.map((one) => versionLink(model, one, one === version)),
  );
  const head = h("header", { class: "model-head" }, heading, versions, version.details && facts(version));
  const sections = version.details ? [tiles(), signatures(model, version, signatureName, go)] : [absent(version)];
  return h("div", { class: "model" }, head, sections);
}

function versionLink(model, version, isShown) {
  const notes = [...(version.labels ?? []), version.is_latest ? "latest" : null].filter(Boolean);
  return h(
    "a",
    {
      class: "version",
      href: link(model.name, version.version),
      "aria-current": isShown ? "true" : null,
      "data-state": stateOf(version),
    },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", {}, `Version ${version.version}`),
    h("span", { class: "version-note" }, [stateOf(version), ...notes].join(" · ")),
  );
}

/** The address of a model, one of its versions, and one of its signatures. */
export function link(model, version, signature) {
  return `#/${[model, version, signature].filter(Boolean).map(encodeURIComponent).join("/")}`;
}

function absent(version) {
  const failure = version.quarantined ? "This version is in quarantine" : "This version could not be loaded";
  const title = version.error ? failure : `This version is ${stateOf(version)}`;
  const why = version.error || "What it takes and gives is shown when it is available.";
  return h("div", { class: version.error ? "failure" : "notice" }, h("strong", {}, title), h("p", {}, why));
}

function facts(version) {
  const items = [
    ["Size on disk", bytes(version.size_bytes)],
    ["Signatures", String(version.details.signatures.length)],
    ...(version.details.class_labels.length ? [["Class labels", String(version.details.class_labels.length)]] : []),
  ];
  return h("dl", { class: "facts" }, items.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const TILES = ["Requests", "Errors", "Latency", "Batch"];

function tiles() {
  const list = h("ul", { class: "tiles", "aria-label": "What this version answered lately" });
  for (const name of TILES) {
    list.append(
      h(
        "li",
        { class: "tile", "data-tile": name },
        h("span", { class: "tile-name" }, name),
        h("span", { class: "tile-value" }, "–"),
        h("span", { class: "tile-note" }, "Waiting for numbers"),
      ),
    );
  }
  return list;
}

/** Write what a version did into its tiles. */
export function updateTiles(activity, model, version) {
  const summary = activity.summary(model, version);
  if (!summary || !document.querySelector(".tiles")) return;
  const { lately, total, seconds } = summary;
  const span = seconds >= 59 ? "in the last minute" : `in the last ${Math.max(1, Math.round(seconds))} s`;
  const shown = lately.run.count ? lately : total;
  const when = lately.run.count ? span : "since the start";
  const share = (facts) => (facts.requests ? percent(facts.errors / facts.requests) : "–");
  write("Requests", `${rate(lately.requests / (seconds || 1))}/s`, `${count(total.requests)} since the start`);
  write("Errors", lately.requests ? share(lately) : share(total), `${count(total.errors)} since the start`);
  write("Latency", milliseconds(quantile(shown.run, 0.5)), total.run.count ? `median; 95 % under ${milliseconds(quantile(shown.run, 0.95))}, ${when}` : "No request yet");
  const size = mean(shown.batches);
  write("Batch", Number.isNaN(size) ? "–" : number(Number(size.toFixed(1))), Number.isNaN(size) ? "No request yet" : `rows at a time, ${when}`);
  const tile = document.querySelector('[data-tile="Requests"]');
  tile.querySelector("svg")?.remove();
  tile.append(sparkline(activity.rates(model, version)));
}

function write(name, value, note) {
  const tile = document.querySelector(`[data-tile="${name}"]`);
  tile.querySelector(".tile-value").textContent = value;
  tile.querySelector(".tile-note").textContent = note;
}

function signatures(model, version, chosen, go) {
  const names = version.signatures;
  if (!names.length) return h("div", { class: "notice" }, h("p", {}, "None of its signatures can be called over REST."));
  const start = names.includes(chosen) ? chosen : names[0];
  const show = (name, panel) => {
    const isFirst = !panel.childElementCount;
    panel.replaceChildren(...signatureView(model, version, version.details.signatures.find((its) => its.name === name)));
    if (!isFirst) go(name);
  };
  const [list, panel] = tabs("Signatures", names, start, show);
  return h("section", { class: "signatures", "aria-label": "Signatures" }, h("h2", {}, names.length > 1 ? "Signatures" : "Signature"), list, panel);
}

function signatureView(model, version, signature) {
  const others = model.versions.filter((one) => one !== version && one.details && one.signatures.includes(signature.name));
  return [
    h(
      "div",
      { class: "wiring" },
      wires(signature.features.length && signature.methods.some((method) => method !== "predict") ? signature.features : signature.inputs, "Takes"),
      wires(signature.outputs, "Gives"),
    ),
    playground(model.name, version, signature, others),
  ];
}

function wires(specs, title) {
  const items = specs.map((spec) => h("li", {}, h("code", {}, spec.name), h("span", { class: "field-type" }, tensor(spec))));
  return h("div", {}, h("h3", {}, title), specs.length ? h("ul", {}, items) : h("p", { class: "hint" }, "nothing"));
}
