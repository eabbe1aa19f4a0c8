// A field for an input that may be a picture: drawn, from a file, or as numbers.

import { h, newId, segments } from "./dom.js";
import { tensor } from "./format.js";
import { Pad } from "./pad.js";
import {
  RANGES,
  edge,
  fittedFrame,
  guessRange,
  inverted,
  paint,
  resized,
  scaled,
  sentSize,
  stretched,
  valuesOf,
  whole,
} from "./pixels.js";
import { nest } from "./values.js";

const FINE = 4;
const SMALL = 64;
const LARGEST_FILE_BYTES = 32e6;

export class ImageField {
  #spec;
  #image;
  #mode;
  #picture = null;
  #seen = null;
  #values = null;
  #onChange;

  /** `sample` is a request that the model was exported with, or null; it tells how pixels are scaled. */
  constructor(spec, image, sample, onChange, makeNumbers) {
    [this.#spec, this.#image, this.#onChange] = [spec, image, onChange];
    this.numbers = makeNumbers();
    this.pad = new Pad(() => this.#drawn(), image.width / image.height);
    const flat = sample ? [sample].flat(Infinity) : [];
    const known = flat.length ? guessRange(flat) : spec.kind === "integer" ? "0 to 255" : "0 to 1";
    this.range = this.#select("Pixel values", Object.keys(RANGES), known);
    this.light = this.#check("Light paper is high", flat.length ? this.#paperIsHigh(flat) : image.channels > 1);
    this.fit = this.#check("Centre and fit the ink", image.channels === 1 && Math.max(image.width, image.height) <= SMALL);
    this.preview = h("canvas", { class: "preview", role: "img", "aria-label": "What the model sees" });
    this.caption = h("figcaption", {});
    this.file = this.#fileInput();
    this.panel = h("div", { class: "image-panel" });
    this.#mode = image.channels === 1 ? "draw" : "picture";
    const modes = [
      ["draw", "Draw"],
      ["picture", "Picture"],
      ["numbers", "Numbers"],
    ];
    this.modes = segments(`How to give ${spec.name}`, modes, this.#mode, (mode) => this.#show(mode));
    this.element = h(
      "fieldset",
      { class: "field" },
      h("legend", {}, h("span", { class: "field-name" }, spec.name), h("span", { class: "field-type" }, tensor(spec))),
      this.modes,
      this.panel,
    );
    this.#show(this.#mode);
  }

  /** Whether a change of it is worth running the model for at once. */
  get isDrawn() {
    return this.#mode === "draw" && !this.pad.isEmpty;
  }

  read() {
    if (this.#mode === "numbers") return this.numbers.read();
    if (!this.#values) {
      throw new Error(`${this.#spec.name}: ${this.#mode === "draw" ? "draw something first" : "choose a picture first"}`);
    }
    const { shape } = this.#image;
    const sizes = [this.#seen.height, this.#seen.width];
    return nest(this.#values, shape.map((size, place) => size ?? sizes[place]), this.#spec.name);
  }

  load(value) {
    this.numbers.load(value);
    this.modes.querySelector('[data-value="numbers"]').click();
  }

  #show(mode) {
    if (mode === "numbers" && this.#values) this.numbers.load(this.read());
    this.#mode = mode;
    const controls = {
      draw: () => [h("div", { class: "pad-side" }, this.pad.canvas, this.pad.help), this.#side(this.#padButtons())],
      picture: () => [this.file, this.#side(null)],
      numbers: () => [this.numbers.element],
    };
    this.panel.replaceChildren(...controls[mode]());
    this.panel.dataset.mode = mode;
    if (mode === "draw") this.#drawn();
    if (mode === "picture") this.#compute();
  }

  #side(buttons) {
    const { channels } = this.#image;
    return h(
      "div",
      { class: "image-side" },
      h("figure", {}, this.preview, this.caption),
      buttons,
      h("details", {}, h("summary", {}, "Pixels"), this.range.element, this.light.element, channels === 1 && this.fit.element),
    );
  }

  #padButtons() {
    return h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "button small", onclick: () => this.pad.undo() }, "Undo"),
      h("button", { type: "button", class: "button small", onclick: () => this.pad.clear() }, "Clear"),
    );
  }

  #select(label, names, chosen) {
    const id = newId("select");
    const options = names.map((name) => h("option", { value: name, selected: name === chosen }, name));
    const control = h("select", { id, onchange: () => this.#compute() }, options);
    return { control, element: h("label", { class: "labelled", for: id }, label, control) };
  }

  #check(label, checked) {
    const id = newId("check");
    const control = h("input", { type: "checkbox", id, checked, onchange: () => this.#compute() });
    return { control, element: h("label", { class: "check", for: id }, control, label) };
  }

  #fileInput() {
    const id = newId("file");
    const name = h("span", { class: "hint" }, "PNG, JPEG, WebP or GIF; also dropped here");
    const control = h("input", {
      type: "file",
      id,
      accept: "image/*",
      onchange: (event) => this.#open(event.target.files[0], name),
    });
    const drop = h("div", { class: "drop" }, h("label", { class: "button", for: id }, "Choose a picture"), control, name);
    drop.addEventListener("dragover", (event) => event.preventDefault());
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#open(event.dataTransfer.files[0], name);
    });
    return drop;
  }

  async #open(file, says) {
    if (!file) return;
    says.textContent = file.name;
    try {
      if (file.size > LARGEST_FILE_BYTES) throw new Error("is too large");
      this.#picture = await createImageBitmap(file);
    } catch {
      this.#picture = null;
      says.textContent = `${file.name} cannot be read as a picture`;
    }
    this.#compute();
  }

  #drawn() {
    this.#compute();
  }

  /** From the drawing or the picture to values; what the model sees is shown. */
  #compute() {
    const seen = this.#mode === "draw" ? this.#fromPad() : this.#fromPicture();
    const { width, height } = seen ?? this.#image;
    if (seen) paint(this.preview, seen);
    else [this.preview.width, this.preview.height] = [width, height];
    this.caption.textContent = `The model sees ${width} × ${height}`;
    const range = RANGES[this.range.control.value];
    this.#seen = seen;
    this.#values = seen && scaled(seen.values, range, this.#spec.kind === "integer");
    this.#onChange();
  }

  #fromPad() {
    if (this.pad.isEmpty) return null;
    const { width, height, channels } = this.#image;
    const ink = valuesOf(this.pad.ink(), 1);
    const small = resized(ink, this.fit.control.checked ? fittedFrame(ink, width, height) : whole(ink), width, height);
    const gray = this.light.control.checked ? inverted(small) : small;
    if (channels === 1) return gray;
    const values = Float32Array.from({ length: width * height * channels }, (_, place) =>
      place % channels === 3 ? 1 : gray.values[Math.floor(place / channels)],
    );
    return { width, height, channels, values };
  }

  #fromPicture() {
    if (!this.#picture) return null;
    const { channels, sides } = this.#image;
    const { width, height } = sentSize(this.#image, this.#picture);
    const fine = sides.includes(null) ? 1 : FINE;
    const picture = valuesOf(this.#covering(width * fine, height * fine), channels);
    if (channels > 1) return resized(picture, whole(picture), width, height);
    const asWanted = edge(picture) > 0.5 === this.light.control.checked ? picture : inverted(picture);
    if (!this.fit.control.checked) return resized(asWanted, whole(picture), width, height);
    const dark = stretched(this.light.control.checked ? inverted(asWanted) : asWanted);
    const small = resized(dark, fittedFrame(dark, width, height), width, height);
    return this.light.control.checked ? inverted(small) : small;
  }

  /** The middle of the picture, as large as the sizes' proportions let it be. */
  #covering(width, height) {
    const canvas = h("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
    context.fillRect(0, 0, width, height);
    const scale = Math.max(width / this.#picture.width, height / this.#picture.height);
    const [drawnWidth, drawnHeight] = [this.#picture.width * scale, this.#picture.height * scale];
    context.drawImage(this.#picture, (width - drawnWidth) / 2, (height - drawnHeight) / 2, drawnWidth, drawnHeight);
    return context;
  }

  #paperIsHigh(flat) {
    const { width, height, channels } = this.#image;
    if (flat.length !== width * height * channels) return channels > 1;
    const [low, high] = RANGES[guessRange(flat)];
    const values = flat.map((value) => (value - low) / (high - low));
    return edge({ width, height, channels, values }) > 0.5;
  }
}
