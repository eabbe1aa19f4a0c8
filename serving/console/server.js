// What is asked of the server. Paths are below this page, wherever a proxy has put it.

const KEY = "api-key";

/** An answer that is not a success. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function apiKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** The address of a path of this server. */
export function address(path) {
  return new URL(path, document.baseURI).href;
}

/** The path of a call of a signature, of a version or of the latest one. */
export function runPath(model, version, method) {
  return `v1/models/${encodeURIComponent(model)}${version ? `/versions/${version}` : ""}:${method}`;
}

/** What is known of a loaded version: its signatures, with samples, and the labels of its classes. */
export async function details(model, version) {
  return look(`console/models/${encodeURIComponent(model)}/versions/${version}`);
}

/** GET a JSON document. */
export async function look(path) {
  return (await ask(path, {})).document;
}

/** Run a call; what came back, and how long that took. */
export async function run(path, body) {
  return ask(path, { method: "POST", body, headers: { "Content-Type": "application/json" } });
}

async function ask(path, options) {
  const key = apiKey();
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const started = performance.now();
  let response;
  try {
    response = await fetch(address(path), { ...options, headers, signal: AbortSignal.timeout(120000) });
  } catch {
    throw new Refused(0, "The server does not answer");
  }
  const text = await response.text();
  const seconds = (performance.now() - started) / 1000;
  const document = read(text);
  if (!response.ok) throw new Refused(response.status, document?.error ?? `The server answered ${response.status}`);
  return { document, seconds, text, version: response.headers.get("X-Model-Version") };
}

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g;

/** JSON as this server writes it: with NaN and infinities, which become strings, and integers of 64 bits, likewise. */
function read(text) {
  try {
    return JSON.parse(text, keepWhole);
  } catch {
    try {
      return JSON.parse(text.replace(TOKENS, (token) => (token[0] === '"' ? token : `"${token}"`)), keepWhole);
    } catch {
      return null;
    }
  }
}

function keepWhole(key, value, context) {
  const isCut = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return isCut && context && /^-?\d+$/.test(context.source) ? context.source : value;
}
