// The console: keeps asking the server what there is and what it does, and shows the model that the address names.

import { Activity } from "./activity.js";
import { announce, h } from "./dom.js";
import { rate } from "./format.js";
import { link, showModel, stateOf, updateTiles } from "./overview.js";
import { apiKey, details, keepApiKey, look } from "./server.js";

const MODELS_SECONDS = 4;
const ACTIVITY_SECONDS = 2;

const activity = new Activity();
const main = document.getElementById("main");
const health = document.getElementById("health");
let models = null;
let shown = "";

// What the server says.

async function readModels() {
  try {
    const { models: found } = await look("console/models");
    models = found;
    showHealth();
    showModels();
    await showMain();
  } catch (error) {
    showProblem(error);
  }
}

async function readActivity() {
  if (!models) return;
  try {
    activity.add(await look("console/activity"), performance.now() / 1000);
    showActivity();
  } catch {
    // the list of models, which is asked for as often, says what is wrong
  }
}

function showHealth() {
  const versions = models.map((model) => model.versions.map(stateOf));
  const failing = versions.filter((states) => !states.includes("available")).length;
  const [state, text] = !models.length ? ["waiting", "No models"] : failing ? ["failed", `${failing} not available`] : ["available", "Ready"];
  setHealth(state, text);
}

function setHealth(state, text) {
  if (health.textContent === text) return;
  health.dataset.state = state;
  health.textContent = text;
}

function showProblem(error) {
  const wantsKey = error.status === 401 || error.status === 403;
  setHealth("failed", wantsKey ? "Key needed" : "No answer");
  if (shown && !wantsKey) return; // what is there stays; the next look may succeed
  const title = wantsKey ? "This server asks for an API key" : "The server cannot be reached";
  const enter = h("button", { class: "button primary", type: "button", onclick: openKeys }, "Enter a key");
  show(`problem ${error.message}`, () => h("div", { class: "failure" }, h("h1", {}, title), h("p", {}, error.message), wantsKey && enter));
}

// The list of models.

function showModels() {
  const { model: chosen } = place();
  const items = models.map((model) => {
    const version = versionOf(model, "");
    const current = model.name === chosen?.name;
    return h(
      "li",
      {},
      h(
        "a",
        { class: "model-link", href: link(model.name), "aria-current": current ? "page" : null, "data-state": stateOf(version) },
        h("span", { class: "dot", "aria-hidden": "true" }),
        h("span", { class: "model-link-name" }, model.name),
        h("span", { class: "model-link-note" }, h("span", {}, stateOf(version) === "available" ? `v${version.version}` : stateOf(version)), h("span", { "data-rate": model.name })),
      ),
    );
  });
  const focused = document.activeElement?.closest(".model-link")?.getAttribute("href");
  document.getElementById("models").replaceChildren(h("h2", {}, "Models"), h("ul", {}, items));
  if (focused) document.querySelector(`.model-link[href="${CSS.escape(focused)}"]`)?.focus();
  showActivity();
}

function showActivity() {
  for (const note of document.querySelectorAll("[data-rate]")) {
    const model = models.find((one) => one.name === note.dataset.rate);
    const perSecond = model?.versions.reduce((sum, one) => sum + (activity.rates(model.name, one.version).at(-1) ?? 0), 0);
    note.textContent = perSecond > 0 ? `${rate(perSecond)}/s` : "";
  }
  const { model, version } = place();
  if (model && version?.signatures) updateTiles(activity, model.name, version.version);
}

/** Bring the model that is shown into view, where the list is scrolled. */
function showCurrent() {
  document.querySelector(".model-link[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

// The model that the address names: #/MODEL/VERSION/SIGNATURE.

function place() {
  const [name, version, signature] = location.hash.slice(2).split("/").map(decodeURIComponent);
  const model = name ? models?.find((one) => one.name === name) : models?.[0];
  return { name, model, version: model && versionOf(model, version), signature };
}

function versionOf(model, number) {
  return (
    model.versions.find((one) => one.version === number) ??
    model.versions.find((one) => one.is_latest) ??
    model.versions[0] ?? { version: "", state: "START", error: "" }
  );
}

async function showMain() {
  const { name, model, version, signature } = place();
  if (!models.length) {
    show("empty", noModels);
    return;
  }
  if (!model) {
    show(`absent ${name}`, () => h("div", { class: "notice" }, h("h1", {}, "No such model"), h("p", {}, `There is no model called ${name}.`)));
    return;
  }
  document.title = `${model.name} · SavedModel server`;
  const go = (chosen) => history.replaceState(null, "", link(model.name, version.version, chosen));
  const what = JSON.stringify([model, version.version]);
  if (what === shown) return;
  const versions = await Promise.all(model.versions.map((one) => withDetails(model.name, one)));
  const chosen = versions.find((one) => one.version === version.version) ?? version;
  const now = place(); // the address may have changed meanwhile
  if (now.model?.name === model.name && now.version.version === version.version) show(what, () => showModel({ ...model, versions }, chosen, signature, go));
}

/** A version with its details where it is loaded, unless it is unloaded just now. */
async function withDetails(name, version) {
  if (!version.signatures) return version;
  try {
    return { ...version, details: await details(name, version.version) };
  } catch (error) {
    if (error.status !== 404) throw error;
    return version;
  }
}

/** Replace the page, unless it shows the same already: what was typed into it stays. */
function show(what, make) {
  if (what === shown) return;
  shown = what;
  main.replaceChildren(make());
  if (models) showActivity();
}

function noModels() {
  return h(
    "div",
    { class: "notice" },
    h("h1", {}, "No models yet"),
    h("p", {}, "Put a SavedModel into the model directory as ", h("code", {}, "NAME/VERSION/saved_model.pb"), ". It is loaded within seconds, and this page shows it."),
  );
}

// Key and theme.

const dialog = document.getElementById("key-dialog");
const keyField = document.getElementById("key-field");

function openKeys() {
  keyField.value = apiKey();
  dialog.returnValue = "";
  dialog.showModal();
}

dialog.addEventListener("close", () => {
  if (!dialog.returnValue) return;
  keepApiKey(dialog.returnValue === "use" ? keyField.value.trim() : "");
  showKeyState();
  readModels();
});

function showKeyState() {
  document.getElementById("key-button").textContent = apiKey() ? "API key ✓" : "API key";
}

document.getElementById("key-button").addEventListener("click", openKeys);
keyField.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return; // else the first button of the form would count as pressed
  event.preventDefault();
  dialog.close("use");
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme-button");

function showTheme() {
  const isDark = (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  themeButton.textContent = isDark ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Use the ${isDark ? "light" : "dark"} theme`);
  themeButton.dataset.next = isDark ? "light" : "dark";
}

themeButton.addEventListener("click", () => {
  document.documentElement.dataset.theme = themeButton.dataset.next;
  localStorage.setItem("theme", themeButton.dataset.next);
  showTheme();
  announce(`${themeButton.dataset.next} theme`);
});
dark.addEventListener("change", showTheme);

// The life of the page.

/** Do something again and again, but not while nobody looks. */
function every(seconds, act) {
  setInterval(() => !document.hidden && act(), seconds * 1000);
}

addEventListener("hashchange", () => {
  if (!models) return;
  const moved = place().model?.name !== document.getElementById("model-name")?.textContent;
  showModels();
  showCurrent();
  showMain().catch(showProblem);
  if (moved) main.focus({ preventScroll: true });
});

showTheme();
showKeyState();
await readModels();
showCurrent();
await readActivity();
every(MODELS_SECONDS, readModels);
every(ACTIVITY_SECONDS, readActivity);
