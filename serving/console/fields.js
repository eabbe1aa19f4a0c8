// A field for each input, as its dtype and its shape suggest. A field has an `element`, `read()`, which gives the value
// as it is sent or throws an Error in words, and `load(value)`, which shows such a value.

import { h, newId } from "./dom.js";
import { tensor } from "./format.js";
import { ImageField } from "./image.js";
import { imageShape } from "./pixels.js";
import { listOf, nest, shapeOf, sizeOf, valueOf } from "./values.js";

const MOST_CELLS = 32;

/** A field for `spec`; `shape` is that of what one field holds, without the rows. A request holds `mostValues`. */
export function fieldFor(spec, shape, sample, mostValues, onChange) {
  const image = shape && imageShape(spec, shape, mostValues);
  if (image) return new ImageField(spec, image, sample, onChange, () => new ListField(spec, shape, onChange));
  if (!shape || shape.length === 0) return spec.kind === "boolean" ? new Switch(spec, onChange) : new ValueField(spec, onChange);
  const size = sizeOf(shape);
  const isSmall = size !== null && size > 0 && size <= MOST_CELLS && shape.length <= 2;
  return isSmall ? new CellsField(spec, shape, onChange) : new ListField(spec, shape, onChange);
}

/** How many columns of a table an input takes; null where it does not fit into one. */
export function columnsOf(spec, shape) {
  if (!shape || !shape.length) return [spec.name];
  const size = sizeOf(shape);
  if (shape.length !== 1 || size === null || size > 256) return null;
  return size === 1 ? [spec.name] : Array.from({ length: size }, (_, place) => `${spec.name}[${place}]`);
}

function legend(spec) {
  return h("legend", {}, h("span", { class: "field-name" }, spec.name), h("span", { class: "field-type" }, tensor(spec)));
}

function input(spec, attributes) {
  if (spec.kind === "string") return h("input", { type: "text", ...attributes });
  const isWhole = spec.kind === "integer";
  return h("input", { type: "text", inputmode: isWhole ? "numeric" : "decimal", autocomplete: "off", ...attributes });
}

/** What `read` gives; while that is an error, the control says so. */
function checked(control, read) {
  control.removeAttribute("aria-invalid");
  try {
    return read();
  } catch (error) {
    control.setAttribute("aria-invalid", "true");
    throw error;
  }
}

/** One value. */
class ValueField {
  constructor(spec, onChange) {
    this.spec = spec;
    const name = { "aria-label": spec.name, oninput: onChange };
    this.control = spec.kind === "string" ? h("textarea", { rows: 3, ...name }) : input(spec, { class: "short", ...name });
    this.element = h("fieldset", { class: "field" }, legend(spec), this.control);
  }

  read() {
    return checked(this.control, () => valueOf(this.control.value, this.spec));
  }

  load(value) {
    this.control.value = textOf(Array.isArray(value) ? value.flat(Infinity)[0] : value);
  }
}

/** True or false. */
class Switch {
  constructor(spec, onChange) {
    const id = newId("switch");
    this.control = h("input", { type: "checkbox", id, onchange: onChange });
    this.element = h("fieldset", { class: "field" }, legend(spec), h("label", { class: "check", for: id }, this.control, spec.name));
  }

  read() {
    return this.control.checked;
  }

  load(value) {
    this.control.checked = Boolean(value);
  }
}

/** A few values, a cell for each. */
class CellsField {
  constructor(spec, shape, onChange) {
    [this.spec, this.shape] = [spec, shape];
    const columns = shape.at(-1);
    this.cells = Array.from({ length: sizeOf(shape) }, (_, place) => {
      const where = shape.length === 1 ? `${place}` : `${Math.floor(place / columns)}, ${place % columns}`;
      return input(spec, { "aria-label": `${spec.name} [${where}]`, placeholder: where, oninput: onChange });
    });
    const grid = h("div", { class: shape.length === 1 ? "cells" : "cells matrix" }, this.cells);
    if (shape.length === 2) grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    this.element = h("fieldset", { class: "field" }, legend(spec), grid);
  }

  read() {
    const values = this.cells.map((cell, place) =>
      checked(cell, () => valueOf(cell.value, { ...this.spec, name: `${this.spec.name}[${place}]` })),
    );
    return nest(values, this.shape, this.spec.name);
  }

  load(value) {
    const flat = [value].flat(Infinity);
    this.cells.forEach((cell, place) => (cell.value = textOf(flat[place] ?? "")));
  }
}

/** Many values, or a number of them that varies, in one text. */
export class ListField {
  constructor(spec, shape, onChange) {
    [this.spec, this.shape] = [spec, shape];
    const id = newId("hint");
    this.control = h("textarea", {
      rows: 6,
      class: "mono",
      "aria-label": spec.name,
      "aria-describedby": id,
      spellcheck: "false",
      oninput: onChange,
    });
    const size = sizeOf(shape);
    const what = spec.kind === "string" ? "One text a line" : "Numbers parted by spaces, commas or lines, row by row";
    const hint = h("p", { class: "hint", id }, `${what}${size === null ? "." : `: ${size} in all.`}`);
    this.element = h("fieldset", { class: "field" }, legend(spec), this.control, hint);
  }

  read() {
    return checked(this.control, () => nest(listOf(this.control.value, this.spec), this.shape, this.spec.name));
  }

  load(value) {
    const columns = shapeOf(value).at(-1) ?? 1;
    const flat = [value].flat(Infinity).map(textOf);
    const lines = [];
    const width = this.spec.kind === "string" ? 1 : Math.min(columns, 64);
    for (let place = 0; place < flat.length; place += width) lines.push(flat.slice(place, place + width).join(" "));
    this.control.value = lines.join("\n");
  }
}

function textOf(value) {
  return typeof value === "object" && value !== null ? (value.b64 ?? "") : String(value);
}

