// Where a signature is tried: fields for its inputs, its answer, and the request as code.

import { comparison, rowsOf, showRow, showTable, spoken } from "./answer.js";
import { parseTable } from "./csv.js";
import { announce, h, newId, segments, tabs } from "./dom.js";
import { columnsOf, fieldFor } from "./fields.js";
import { milliseconds } from "./format.js";
import { address, apiKey, run, runPath } from "./server.js";
import { LANGUAGES } from "./snippets.js";
import { decimal, nest, stringify, valueOf } from "./values.js";

const DRAWN_DELAY_MS = 150;
const MOST_CODE = 20000;

/** The section of one signature. `others` are the versions that have the same signature, to compare with. */
export function playground(model, version, signature, others) {
  return new Playground(model, version, signature, others).element;
}

class Playground {
  #timer = 0;
  #asked = 0;

  constructor(model, version, signature, others) {
    [this.model, this.version, this.signature, this.others] = [model, version, signature, others];
    this.method = signature.methods.find((method) => method !== "predict") ?? signature.methods[0];
    this.takesExamples = this.method !== "predict";
    this.specs = this.takesExamples ? signature.features : signature.inputs;
    this.mode = "form";
    const most = version.details.most_values;
    this.fields = this.specs.map((spec) =>
      fieldFor(spec, this.#shape(spec), this.#sampleOf(spec), most, () => this.#changed()),
    );
    this.specs.forEach((spec, place) => this.#loadSmall(spec, this.fields[place]));
    this.table = this.#makeTable();
    this.inputs = h("div", { class: "inputs" });
    this.answer = h("div", { class: "answer" }, this.#emptyAnswer());
    this.code = h("pre", { class: "code", tabindex: "0", "aria-label": "The request as code" });
    this.runButton = h("button", { type: "submit", class: "button primary" }, "Run");
    this.compare = this.#compareSelect();
    this.element = this.#layout();
    this.#showMode("form");
  }

  #layout() {
    const form = h("form", { class: "card ask", novalidate: true, "aria-label": "Input" });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run(true);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    const modes =
      this.table &&
      segments("One row or many", [["form", "One row"], ["table", "Table"]], "form", (mode) => this.#showMode(mode));
    const hasSample = this.#hasSample();
    form.append(
      h("div", { class: "card-head" }, h("h3", {}, "Input"), modes),
      this.inputs,
      h(
        "div",
        { class: "row actions" },
        this.runButton,
        hasSample && h("button", { type: "button", class: "button", onclick: () => this.#loadSample() }, "Load an example"),
      ),
    );
    const head = h("div", { class: "card-head" }, h("h3", {}, "Answer"), this.compare.element);
    const answer = h("section", { class: "card", "aria-label": "Answer" }, head, this.answer);
    return h("div", { class: "playground" }, form, answer, this.#codeCard());
  }

  #codeCard() {
    this.language = "curl";
    const [list, panel] = tabs("Language", Object.keys(LANGUAGES), this.language, (name, shown) => {
      this.language = name;
      shown.replaceChildren(this.code);
      this.#showCode();
    });
    const copy = h("button", { type: "button", class: "button small", onclick: () => this.#copy(copy) }, "Copy");
    return h(
      "section",
      { class: "card request", "aria-label": "Request" },
      h("div", { class: "card-head" }, h("h3", {}, "Request"), list, copy),
      panel,
    );
  }

  async #copy(button) {
    try {
      await navigator.clipboard.writeText(this.#codeText());
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.code);
      button.textContent = "Selected";
    }
    announce(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  #compareSelect() {
    if (!this.others.length) return { element: null, version: () => "" };
    const id = newId("compare");
    const options = this.others.map((other) => h("option", { value: other.version }, `version ${other.version}`));
    const control = h("select", { id, onchange: () => this.#run(true) }, h("option", { value: "" }, "none"), options);
    return {
      element: h("label", { class: "labelled compare", for: id }, "Compare with", control),
      version: () => control.value,
    };
  }

  #shape(spec) {
    if (this.takesExamples) return spec.shape === null ? [null] : this.#isOne(spec.shape) ? [] : spec.shape;
    return this.signature.has_rows ? (spec.shape?.slice(1) ?? []) : (spec.shape ?? []);
  }

  #isOne(shape) {
    return shape.every((size) => size === 1);
  }

  // Samples: `sample` has whole tensors, `example` features.

  #hasSample() {
    return this.specs.length > 0 && Boolean(this.takesExamples ? this.signature.example : this.signature.sample);
  }

  #valueOfSample(spec) {
    if (this.takesExamples) {
      const values = this.signature.example?.[spec.name];
      return values && this.#isOne(this.#shape(spec)) ? values[0] : values;
    }
    const value = this.signature.sample?.[spec.name];
    return this.signature.has_rows ? value?.[0] : value;
  }

  /** The sample of one input where it was exported with the model, and so tells how values are scaled. */
  #sampleOf(spec) {
    return this.signature.is_warm ? (this.#valueOfSample(spec) ?? null) : null;
  }

  #loadSmall(spec, field) {
    const value = this.#valueOfSample(spec);
    if (value !== undefined && !field.pad) field.load(value);
  }

  #loadSample() {
    if (this.mode === "table") this.table.fill();
    else {
      this.specs.forEach((spec, place) => {
        const value = this.#valueOfSample(spec);
        if (value !== undefined) this.fields[place].load(value);
      });
    }
    this.#run(true);
  }

  // The table.

  #makeTable() {
    const columns = this.specs.map((spec) => columnsOf(spec, this.#shape(spec)));
    const many = this.takesExamples || this.signature.has_rows;
    if (!many || !this.specs.length || columns.includes(null)) return null;
    const hint = h("p", { class: "hint", id: newId("hint") }, "Paste from a spreadsheet or as CSV, with the names of the inputs as header.");
    const control = h("textarea", { class: "mono", rows: 8, spellcheck: "false", "aria-label": "Table", "aria-describedby": hint.id, oninput: () => this.#changed() });
    const id = newId("file");
    const open = async (event) => {
      const [file] = event.target.files;
      if (file) control.value = await file.text();
      this.#changed();
    };
    const file = h("input", { type: "file", id, accept: ".csv,.tsv,.txt,text/csv", onchange: open });
    const fill = () => {
      const cells = this.specs.flatMap((spec) => [this.#valueOfSample(spec) ?? ""].flat(Infinity));
      const line = cells.map((cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell)).join(",");
      control.value = `${columns.flat().join(",")}\n${line}\n${line}`;
    };
    fill();
    const element = h("div", { class: "field" }, control, hint, h("div", { class: "drop" }, h("label", { class: "button small", for: id }, "Open a CSV file"), file));
    return { element, fill, read: () => this.#rowsOfTable(control.value, columns) };
  }

  #rowsOfTable(text, columns) {
    const { header, rows } = parseTable(text);
    const missing = columns.flat().filter((name) => !header.includes(name));
    if (missing.length) throw new Error(`The header lacks ${missing.slice(0, 5).join(", ")}`);
    return rows.map((cells, row) =>
      this.#named((spec, place) => {
        const names = columns[place];
        const values = names.map((name) => {
          try {
            return valueOf(cells[header.indexOf(name)], { ...spec, name });
          } catch (error) {
            throw new Error(`Row ${row + 1}: ${error.message}`, { cause: error });
          }
        });
        return this.#shape(spec).length ? nest(values, this.#shape(spec), spec.name) : values[0];
      }),
    );
  }

  #named(valueAt) {
    return Object.fromEntries(this.specs.map((spec, place) => [spec.name, valueAt(spec, place)]));
  }

  // The request.

  #rows() {
    if (this.mode === "table") return this.table.read();
    return [this.#named((spec, place) => this.fields[place].read())];
  }

  #body() {
    const rows = this.#rows();
    const name = this.signature.name === "serving_default" ? {} : { signature_name: this.signature.name };
    if (this.takesExamples) return { ...name, examples: rows.map((row) => this.#flatFeatures(row)) };
    const plain = (row) => (this.specs.length === 1 ? row[this.specs[0].name] : row);
    return this.signature.has_rows ? { ...name, instances: rows.map(plain) } : { ...name, inputs: plain(rows[0]) };
  }

  #flatFeatures(row) {
    const feature = (spec) => {
      const values = [row[spec.name]].flat(Infinity);
      return [spec.name, spec.kind === "decimal" ? values.map(decimal) : values];
    };
    return Object.fromEntries(this.specs.map(feature));
  }

  #showMode(mode) {
    this.mode = mode;
    const fields = this.fields.map((field) => field.element);
    const nothing = h("p", { class: "hint" }, "This signature takes no inputs.");
    this.inputs.replaceChildren(...(mode === "table" ? [this.table.element] : fields.length ? fields : [nothing]));
    this.#showCode();
  }

  /** Show the request anew, and run it when it was drawn. */
  #changed() {
    if (!this.element) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#showCode();
      if (this.mode === "form" && this.fields.some((field) => field.isDrawn)) this.#run(false);
    }, DRAWN_DELAY_MS);
  }

  #codeText() {
    return LANGUAGES[this.language](address(runPath(this.model, this.version.version, this.method)), this.#body(), Boolean(apiKey()));
  }

  #showCode() {
    if (!this.code) return;
    try {
      const text = this.#codeText();
      this.code.textContent = text.length > MOST_CODE ? `${text.slice(0, MOST_CODE)}\n… (the copy is whole)` : text;
    } catch (error) {
      this.code.textContent = `# ${error.message}`;
    }
  }

  // The answer.

  #emptyAnswer() {
    const drawn = this.fields.some((field) => field.pad);
    return h("p", { class: "empty" }, drawn ? "Draw or choose a picture, and the answer appears here." : "Run the model, and the answer appears here.");
  }

  async #run(loud) {
    this.#showCode();
    let body;
    try {
      body = this.#body();
    } catch (error) {
      if (loud) {
        this.#showError(error);
        this.inputs.querySelector('[aria-invalid="true"]')?.focus();
      }
      return;
    }
    this.#asked += 1;
    const asked = this.#asked;
    this.answer.setAttribute("aria-busy", "true");
    const versions = [this.version.version, this.compare.version()].filter(Boolean);
    const results = await Promise.allSettled(
      versions.map((version) => run(runPath(this.model, version, this.method), stringify(body))),
    );
    if (asked !== this.#asked) return; // a newer request is on its way
    this.answer.removeAttribute("aria-busy");
    this.#showResults(versions, results);
  }

  #showResults(versions, results) {
    const shown = results.map((result, place) =>
      result.status === "fulfilled" ? this.#shownResult(versions[place], result.value) : this.#shownError(result.reason, versions[place]),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (shown.length === 1) {
      this.answer.replaceChildren(shown[0]);
    } else {
      const compared = failed ? null : this.#comparison(results.map((result) => result.value));
      this.answer.replaceChildren(...(compared ? [compared] : []), h("div", { class: "versus" }, shown));
    }
    announce(failed ? failed.reason.message : this.#spoken(versions[0], results[0].value));
  }

  #shownResult(version, { document, seconds }) {
    const rows = rowsOf(document, this.signature);
    const labels = this.#labels(version);
    return h(
      "div",
      { class: "result", "data-version": version },
      h("p", { class: "result-head" }, h("strong", {}, `Version ${version}`), h("span", {}, milliseconds(seconds))),
      rows.length === 1 ? showRow(rows[0], labels) : showTable(rows, labels),
    );
  }

  #comparison(answers) {
    const [mine, theirs] = answers.map(({ document }) => rowsOf(document, this.signature));
    const notes = mine.map((row, place) =>
      comparison(row, theirs[place] ?? {}, this.#labels(this.version.version), this.#labels(this.compare.version())),
    );
    const differing = notes.filter((note) => note.differs).length;
    const text = notes.length === 1 ? notes[0].text : `${differing} of ${notes.length} rows differ`;
    return h("p", { class: differing ? "verdict differs" : "verdict" }, h("strong", {}, differing ? "Different" : "Same"), ` ${text}`);
  }

  #spoken(version, { document, seconds }) {
    const rows = rowsOf(document, this.signature);
    const what = rows.length === 1 ? spoken(rows[0], this.#labels(version)) : `${rows.length} rows`;
    return `Version ${version} answered in ${milliseconds(seconds)}. ${what}`;
  }

  #labels(version) {
    return [this.version, ...this.others].find((one) => one.version === version)?.details.class_labels;
  }

  #showError(error) {
    this.answer.replaceChildren(this.#shownError(error, ""));
    announce(error.message);
  }

  #shownError(error, version) {
    const title = error.status === undefined ? "Not sent" : error.status ? `Refused with ${error.status}` : "No answer";
    return h("div", { class: "failure" }, h("strong", {}, version && this.compare.version() ? `Version ${version}: ${title}` : title), h("p", {}, error.message));
  }
}
