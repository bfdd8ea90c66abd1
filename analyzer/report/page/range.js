// The part of the time that the reader has chosen, in steps, from the first to the first after it; and the step
// that is looked at. All that depends on it listens.

const range = {
  chosen: null,
  cursor: null,
  listeners: [],

  /** Calls `listener` whenever another part is chosen, and now. */
  listen(listener) {
    this.listeners.push(listener);
    listener(this.chosen);
  },

  choose(from, to) {
    const steps = data.time.steps;
    const first = Math.max(0, Math.min(from, to));
    const last = Math.min(steps, Math.max(from, to));
    const next = last > first && !(first === 0 && last === steps) ? { from: first, to: last } : null;
    if (next?.from === this.chosen?.from && next?.to === this.chosen?.to) return redraw();
    this.chosen = next;
    for (const listener of this.listeners) listener(next);
    redraw();
  },

  clear() {
    this.choose(0, 0);
  },

  /** The steps that count. */
  bounds() {
    return this.chosen ?? { from: 0, to: data.time.steps };
  },

  /** The same in nanoseconds. */
  time() {
    const { from, to } = this.bounds();
    return { from: from * data.time.step, to: to * data.time.step };
  },

  /** The step of a moment. */
  step(ns) {
    return Math.max(0, Math.min(data.time.steps - 1, Math.floor(ns / data.time.step)));
  },

  look(step) {
    if (step === this.cursor) return;
    this.cursor = step;
    redraw();
  },
};

/** Lets the pointer choose a part of the time on a canvas, whose `left` and `right` edges are none of it. */
function brush(target, left = 0, right = 0) {
  let began = null;
  let moved = false;
  const step = (event) => {
    const box = target.getBoundingClientRect();
    const place = (event.clientX - box.left - left) / Math.max(1, box.width - left - right);
    return Math.max(0, Math.min(data.time.steps - 1, Math.floor(place * data.time.steps)));
  };
  target.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    began = step(event);
    moved = false;
    target.setPointerCapture(event.pointerId);
  });
  target.addEventListener("pointermove", (event) => {
    const now = step(event);
    range.look(now);
    if (began === null) return;
    if (now !== began) moved = true;
    if (moved) range.choose(Math.min(began, now), Math.max(began, now) + 1);
  });
  target.addEventListener("pointerup", (event) => {
    // A click that moves nothing takes the choice back, or chooses what is there.
    if (began !== null && !moved) {
      const now = step(event);
      if (range.chosen) range.clear();
      else range.choose(now, now + 1);
    }
    began = null;
  });
  target.addEventListener("pointercancel", () => { began = null; });
  target.addEventListener("pointerleave", () => { if (began === null) range.look(null); });
}

/** Shades when something of this table of the recording (without one, of any) was lost; once, however often. */
function shadeGaps(table, context, left, width, height) {
  const gaps = data.gaps.filter((gap) => !table || gap.table === table).sort((one, other) => one.from - other.from);
  context.fillStyle = colours.get("gap");
  let done = 0;
  for (const gap of gaps) {
    const from = Math.max(done, Math.max(0, gap.from / data.time.length) * width);
    const to = Math.max(from + 1.5, Math.min(1, gap.to / data.time.length) * width);
    context.fillRect(left + from, 0, to - from, height);
    done = to;
  }
}

/** Shades what is not chosen, and marks the step that is looked at. */
function shade(context, left, width, height) {
  const perStep = width / data.time.steps;
  if (range.chosen) {
    context.fillStyle = colours.get("veil");
    context.fillRect(left, 0, range.chosen.from * perStep, height);
    const end = range.chosen.to * perStep;
    context.fillRect(left + end, 0, width - end, height);
    context.fillStyle = colours.get("accent");
    context.fillRect(left + range.chosen.from * perStep, 0, 1, height);
    context.fillRect(left + end - 1, 0, 1, height);
  }
  if (range.cursor !== null) {
    context.fillStyle = colours.get("cursor");
    context.fillRect(left + (range.cursor + 0.5) * perStep, 0, 1, height);
  }
}

/** Round times for an axis: at most so many. */
function ticks(most) {
  const seconds = data.time.length / 1e9;
  const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400];
  const step = steps.find((each) => seconds / each <= most) ?? seconds;
  const all = [];
  for (let at = 0; at <= seconds + step / 1000; at += step) all.push(at * 1e9);
  return { all, step };
}

/** How a tick is written: in the unit in which moments are. */
function tickLabel(ns, step) {
  const seconds = ns / 1e9;
  if (data.time.length < 120e9) return `${+seconds.toFixed(step < 1 ? 3 : 0)} s`;
  const minutes = Math.floor(seconds / 60 + 1e-9);
  const two = (number) => String(Math.round(number)).padStart(2, "0");
  if (step >= 3600) return `${Math.round(minutes / 60)} h`;
  if (data.time.length < 7200e9) return `${minutes}:${two(seconds - minutes * 60)} min`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)} h`;
}

/** The bar that stays on top: where to go, and which part of the time is shown. */
function bar(links) {
  const chosen = element("span", { role: "status", className: "chosen" });
  const clear = element("button", { type: "button", onclick: () => range.clear() }, "Whole time");
  range.listen((part) => {
    chosen.textContent = part ? `${format.range(part.from, part.to)} · ${format.clock(part.from * data.time.step)} UTC` : "whole time";
    chosen.classList.toggle("narrow", part !== null);
    clear.hidden = part === null;
  });
  return element("nav", { className: "bar", "aria-label": "Sections" },
    element("span", { className: "links" }, links.map(([id, title]) => element("a", { href: `#${id}` }, title))),
    element("span", { className: "part" }, chosen, clear));
}
