// Elements, canvases and colours. Text only ever becomes text.

/** An element with properties (attributes where the name has a dash, or is `role`) and children. */
function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for" || name === "scope") made.setAttribute(name, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return made;
}

/** A section with its heading, what it is of, the command that tells all, and what is missing. */
function section(id, title, about, ...children) {
  const warnings = (about.warnings ?? []).map((text) => element("li", {}, text));
  const notes = (about.notes ?? []).map((text) => element("li", {}, text));
  const whole = element("span", { className: "whole", hidden: true }, "whole time");
  const made = element("section", { id, tabIndex: -1, "aria-labelledby": `${id}-title` },
    element("header", {},
      element("h2", { id: `${id}-title` }, title),
      element("p", { className: "what" }, about.what ?? "", whole),
      about.command ? element("code", { className: "command", title: "the command that tells all of it" }, about.command) : null),
    warnings.length ? element("ul", { className: "lossy" }, warnings) : null,
    notes.length ? element("ul", { className: "notes" }, notes) : null,
    ...children);
  return made;
}

const colours = {
  cache: new Map(),
  get(name) {
    if (!this.cache.has(name)) {
      this.cache.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
    }
    return this.cache.get(name);
  },
};

/** What is drawn again when the size, the theme or the range changes. */
const drawings = [];
let drawingIsDue = false;

function redraw() {
  if (drawingIsDue) return;
  drawingIsDue = true;
  requestAnimationFrame(redrawNow);
}

function redrawNow() {
  drawingIsDue = false;
  for (const draw of drawings) draw();
}

/** A canvas that `draw` fills; it is given the context, the width and the height in CSS pixels. */
function canvas(properties, height, draw) {
  const made = element("canvas", properties);
  const paint = () => {
    const width = made.clientWidth;
    const tall = typeof height === "function" ? height() : height;
    if (width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    if (made.width !== Math.round(width * ratio) || made.height !== Math.round(tall * ratio)) {
      made.width = Math.round(width * ratio);
      made.height = Math.round(tall * ratio);
      made.style.height = `${tall}px`;
    }
    const context = made.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, tall);
    context.font = `11px ${colours.get("text-font")}`;
    draw(context, width, tall);
  };
  drawings.push(paint);
  return made;
}

/** The theme: what the system prefers, unless the reader chose. */
const theme = {
  isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  set(name) {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    colours.cache.clear();
    redraw();
  },
  button() {
    const label = () => (theme.isDark() ? "Light" : "Dark");
    const button = element("button", {
      type: "button",
      className: "theme",
      onclick: () => {
        theme.set(theme.isDark() ? "light" : "dark");
        button.textContent = label();
      },
    }, label());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      theme.set(document.documentElement.dataset.theme);
      button.textContent = label();
    });
    return button;
  },
};

// Paper is white.
let themeBeforePrint;
window.addEventListener("beforeprint", () => {
  themeBeforePrint = document.documentElement.dataset.theme;
  theme.set("light");
  redrawNow();
});
window.addEventListener("afterprint", () => theme.set(themeBeforePrint));
window.addEventListener("resize", redraw);
