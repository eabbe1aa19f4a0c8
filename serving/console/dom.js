// Elements, in short.

/**
 * An element. A name that starts with "on" adds a listener, one of an own property of the element sets that, others are
 * attributes; null, undefined and false leave them out. Children that are null or false are left out too.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "textContent", "selected"]);

/** An element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let ids = 0;

/** An id that no other element has. */
export function newId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/** Say something to those who listen to the page. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Buttons of which one is pressed. `choices` are pairs of a value and what it is called. */
export function segments(label, choices, chosen, onChoose) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label });
  const show = (value) => {
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
  };
  for (const [value, text] of choices) {
    const choose = () => {
      show(value);
      onChoose(value);
    };
    group.append(h("button", { type: "button", "data-value": value, onclick: choose }, text));
  }
  show(chosen);
  return group;
}

/** Tabs as a keyboard expects them: arrows move, one is in the order of tabs. `tabs` are [name, make(panel)]. */
export function tabs(label, names, chosen, onChoose) {
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label });
  const panelId = newId("panel");
  const buttons = names.map((name) =>
    h("button", { type: "button", role: "tab", id: newId("tab"), "aria-controls": panelId, onclick: () => choose(name) }, name),
  );
  const panel = h("div", { class: "panel", role: "tabpanel", id: panelId });
  const choose = (name) => {
    names.forEach((other, place) => {
      buttons[place].setAttribute("aria-selected", String(other === name));
      buttons[place].tabIndex = other === name ? 0 : -1;
      if (other === name) panel.setAttribute("aria-labelledby", buttons[place].id);
    });
    onChoose(name, panel);
  };
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = (buttons.indexOf(document.activeElement) + step + names.length) % names.length;
    buttons[place].focus();
    choose(names[place]);
  });
  list.append(...buttons);
  choose(chosen);
  return [list, panel];
}
