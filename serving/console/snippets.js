// The request as code, ready to be run elsewhere.

import { Literal, stringify } from "./values.js";

const WIDE = 88;

export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

/** JSON over several lines where it is long, with lists of plain values on one. */
export function pretty(value, indent = "") {
  const flat = stringify(value);
  if (flat.length + indent.length <= WIDE || isPlain(value)) return flat;
  const inner = `${indent}  `;
  if (!Array.isArray(value)) {
    const entries = Object.entries(value).map(([name, one]) => `${inner}${JSON.stringify(name)}: ${pretty(one, inner)}`);
    return `{\n${entries.join(",\n")}\n${indent}}`;
  }
  if (value.every(isPlain)) return flat;
  return `[\n${value.map((one) => inner + pretty(one, inner)).join(",\n")}\n${indent}]`;
}

function isPlain(value) {
  return typeof value !== "object" || value === null || value instanceof Literal;
}

function curl(url, body, withKey) {
  const key = withKey ? ' \\\n  -H "Authorization: Bearer $API_KEY"' : "";
  return `curl ${quoted(url)}${key} \\\n  -d ${quoted(pretty(body))}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function python(url, body, withKey) {
  const key = withKey ? ',\n    headers={"Authorization": f"Bearer {os.environ[\'API_KEY\']}"}' : "";
  return `${withKey ? "import os\n\n" : ""}import requests

answer = requests.post(
    ${JSON.stringify(url)},
    json=${pythonic(pretty(body, "    "))}${key},
)
answer.raise_for_status()
print(answer.json())`;
}

/** JSON as Python writes it: True, False and None, but not inside strings. */
function pythonic(json) {
  const names = { true: "True", false: "False", null: "None" };
  return json.replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (token) => names[token] ?? token);
}

function javascript(url, body, withKey) {
  const key = withKey ? "\n  headers: { Authorization: `Bearer ${apiKey}` }," : "";
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",${key}
  body: JSON.stringify(${pretty(body, "  ")}),
});
if (!response.ok) throw new Error((await response.json()).error);
console.log(await response.json());`;
}
