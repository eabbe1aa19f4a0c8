// From what a person writes to the values of a dtype, and the shapes of tensors.

const MARK = "\uE000";
const MARKED = new RegExp(`"${MARK}([^"]*)${MARK}"`, "g");

/** A number of JSON that is written as this text: JavaScript has no 64-bit integers, and writes 1.0 as 1. */
export class Literal {
  constructor(text) {
    this.text = text;
  }

  toJSON() {
    return MARK + this.text + MARK;
  }
}

/** JSON, with literals as they are. */
export function stringify(value) {
  return JSON.stringify(value)?.replace(MARKED, "$1");
}

/** A number that is a decimal to those who tell 1.0 from 1. */
export function decimal(value) {
  return Number.isInteger(value) ? new Literal(value.toFixed(1)) : value;
}

/** A value of JSON from a text; an Error says what was expected. */
export function valueOf(text, spec) {
  const written = text.trim();
  if (spec.kind === "string") return text;
  if (!written) throw new Error(`${spec.name} is empty`);
  if (spec.kind === "boolean") return booleanOf(written, spec);
  const number = Number(written);
  if (Number.isNaN(number)) throw new Error(`${spec.name}: “${written}” is not a number`);
  if (spec.kind !== "integer") return number;
  if (!/^[+-]?\d+$/.test(written)) throw new Error(`${spec.name}: “${written}” is not a whole number`);
  return Number.isSafeInteger(number) ? number : new Literal(written);
}

function booleanOf(text, spec) {
  if (/^(true|1|yes)$/i.test(text)) return true;
  if (/^(false|0|no)$/i.test(text)) return false;
  throw new Error(`${spec.name}: “${text}” is neither true nor false`);
}

/** The values of a list of numbers or words, parted by commas, spaces or lines (strings: by lines alone). */
export function listOf(text, spec) {
  const parts = spec.kind === "string" ? text.split("\n") : text.split(/[\s,;[\]]+/);
  return parts.filter((part) => part.trim()).map((part) => valueOf(part, spec));
}

/** How many values a shape holds; null where that varies. */
export function sizeOf(shape) {
  return shape.includes(null) ? null : shape.reduce((product, size) => product * size, 1);
}

/** A flat list nested as a shape says; its one variable dimension takes what there is. */
export function nest(values, shape, name) {
  const varying = shape.filter((size) => size === null).length;
  if (varying > 1) throw new Error(`${name} varies in ${varying} dimensions; use the API for it`);
  const known = shape.reduce((product, size) => product * (size ?? 1), 1);
  const sizes = shape.map((size) => size ?? values.length / known);
  const wanted = sizes.reduce((product, size) => product * size, 1);
  if (wanted !== values.length || !sizes.every(Number.isInteger)) {
    throw new Error(`${name} takes ${varying ? `a multiple of ${known}` : known} values, here are ${values.length}`);
  }
  const build = (depth, offset, step) =>
    depth === sizes.length
      ? values[offset]
      : Array.from({ length: sizes[depth] }, (_, place) =>
          build(depth + 1, offset + (place * step) / sizes[depth], step / sizes[depth]),
        );
  return build(0, 0, values.length);
}

/** The shape of nested lists. */
export function shapeOf(value) {
  const shape = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
  return shape;
}
