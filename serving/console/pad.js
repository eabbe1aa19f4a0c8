// A pad to draw on, with a pen, a finger, a mouse or the arrow keys.

import { announce, h, newId } from "./dom.js";

const SIZE = 320;
const PEN = 0.085;
const STEP = 0.05;

/** A drawing pad. `onDraw` is called after each stroke. */
export class Pad {
  #strokes = [];
  #open = null;
  #cursor = [0.5, 0.5];
  #keyboard = false;
  #onDraw;

  constructor(onDraw, aspect = 1) {
    this.#onDraw = onDraw;
    this.canvas = h("canvas", {
      class: "pad",
      width: SIZE,
      height: Math.round(SIZE / aspect),
      tabindex: "0",
      role: "application",
      "aria-label": "Drawing pad",
    });
    const help = h("p", { class: "hint", id: newId("help") });
    help.append("Draw here. With the keyboard: arrows move the pen, ", h("kbd", {}, "Space"), " puts it down or lifts it.");
    this.canvas.setAttribute("aria-describedby", help.id);
    this.help = help;
    this.#listen();
    this.#paint();
  }

  get isEmpty() {
    return !this.#strokes.length;
  }

  clear() {
    this.#strokes = [];
    this.#open = null;
    this.#paint();
    this.#onDraw();
  }

  undo() {
    this.#strokes.pop();
    this.#paint();
    this.#onDraw();
  }

  /** The drawing as white ink on black, on a canvas of its own. */
  ink() {
    const { width, height } = this.canvas;
    const canvas = h("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillRect(0, 0, width, height);
    this.#draw(context, "#fff");
    return context;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.#keyboard = false;
      canvas.setPointerCapture(event.pointerId);
      this.#begin(this.#place(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.#open || this.#keyboard) return;
      for (const moved of event.getCoalescedEvents?.() ?? [event]) this.#open.push(this.#place(moved));
      this.#open.push(this.#place(event));
      this.#paint();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => !this.#keyboard && this.#end());
    canvas.addEventListener("keydown", (event) => this.#press(event));
    for (const name of ["focus", "blur"]) {
      canvas.addEventListener(name, () => {
        if (name === "blur" && this.#keyboard) this.#end();
        this.#keyboard = name === "focus" && canvas.matches(":focus-visible");
        this.#paint();
      });
    }
  }

  #press(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move && event.key !== " " && event.key !== "Delete") return;
    event.preventDefault();
    this.#keyboard = true;
    if (event.key === "Delete") this.clear();
    if (event.key === " ") {
      if (this.#open) this.#end();
      else this.#begin([...this.#cursor]);
      announce(this.#open ? "Pen down" : "Pen up");
    }
    if (move) {
      this.#cursor = this.#cursor.map((at, axis) => Math.min(1, Math.max(0, at + move[axis] * STEP)));
      this.#open?.push([...this.#cursor]);
    }
    this.#paint();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #begin(place) {
    this.#open = [place];
    this.#strokes.push(this.#open);
    this.#paint();
  }

  #end() {
    if (!this.#open) return;
    this.#open = null;
    this.#onDraw();
  }

  #paint() {
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#draw(context, style.getPropertyValue("--ink") || "#111");
    if (this.#keyboard) this.#cross(context, style.getPropertyValue("--accent"));
  }

  #draw(context, color) {
    const { width, height } = this.canvas;
    Object.assign(context, { strokeStyle: color, lineWidth: PEN * width, lineCap: "round", lineJoin: "round" });
    for (const stroke of this.#strokes) {
      context.beginPath();
      stroke.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](x * width, y * height));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * width + 0.1, stroke[0][1] * height);
      context.stroke();
    }
  }

  #cross(context, color) {
    const [x, y] = [this.#cursor[0] * this.canvas.width, this.#cursor[1] * this.canvas.height];
    Object.assign(context, { strokeStyle: color, lineWidth: 2 });
    context.beginPath();
    context.arc(x, y, (PEN * this.canvas.width) / 2 + 2, 0, 2 * Math.PI);
    context.stroke();
  }
}
