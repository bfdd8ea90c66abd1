// Everything on one clock: a lane for each, the range over all of them.

const LANE_HEIGHT = 40;
const AXIS_HEIGHT = 18;

/** The largest value of some steps, and the step that has it. */
function peak(values, { from, to } = { from: 0, to: values.length }) {
  let most = null;
  let step = null;
  for (let at = from; at < to; at += 1) {
    if (values[at] !== null && (most === null || values[at] > most)) [most, step] = [values[at], at];
  }
  return { most, step };
}

function drawLane(lane, context, width, height) {
  const top = lane.unit === "share" ? 1 : Math.max(peak(lane.values).most ?? 0, 1e-9);
  const perStep = width / data.time.steps;
  const base = height - 1;
  shadeGaps(lane.id, context, 0, width, height);
  const tall = (value) => Math.min(1, value / top) * (height - 6);
  const bars = (values, colour) => {
    context.fillStyle = colour;
    values.forEach((value, step) => {
      if (!value) return;
      const high = Math.max(1, tall(value));
      context.fillRect(step * perStep, base - high, Math.max(perStep - (perStep > 4 ? 1 : 0), 1), high);
    });
  };
  if (lane.unit === "count" || lane.unit === "ns") {
    bars(lane.values, colours.get(lane.unit === "ns" ? "wait" : "series"));
    if (lane.marked) bars(lane.marked[1], colours.get("bad"));
  } else {
    // Steps of which nothing is known are not joined.
    context.fillStyle = colours.get("area");
    context.strokeStyle = colours.get("series");
    context.lineWidth = 1.25;
    let start = null;
    for (let step = 0; step <= lane.values.length; step += 1) {
      const known = step < lane.values.length && lane.values[step] !== null;
      if (known && start === null) start = step;
      if (known || start === null) continue;
      context.beginPath();
      for (let at = start; at < step; at += 1) {
        const y = base - tall(lane.values[at]);
        context.lineTo(at * perStep, y);
        context.lineTo((at + 1) * perStep, y);
      }
      context.stroke();
      context.lineTo(step * perStep, base);
      context.lineTo(start * perStep, base);
      context.fill();
      start = null;
    }
  }
  context.fillStyle = colours.get("line");
  context.fillRect(0, base, width, 1);
  shade(context, 0, width, height);
}

function drawAxis(context, width) {
  const { all, step } = ticks(Math.max(2, Math.floor(width / 80)));
  context.fillStyle = colours.get("dim");
  context.textBaseline = "top";
  for (const at of all) {
    const x = (at / data.time.length) * width;
    if (x > width + 1) break;
    context.fillRect(Math.min(x, width - 1), 0, 1, 4);
    context.textAlign = at === 0 ? "left" : x > width - 28 ? "right" : "center";
    context.fillText(tickLabel(at, step), Math.min(x, width), 6);
  }
}

/** What a lane has in the part of the time that is shown: counts, all together too where it is a part and all known. */
function figure(lane) {
  const part = range.bounds();
  const { most, step } = peak(lane.values, part);
  if (most === null) return { text: "unknown", step };
  if (most === 0) return { text: "none", step: null };
  const text = `max ${format.value(most, lane.unit)} at ${format.offset(step * data.time.step)}`;
  const values = lane.values.slice(part.from, part.to);
  if (lane.unit !== "count" || !range.chosen || values.includes(null)) return { text, step };
  return { text: `${format.count(values.reduce((sum, value) => sum + value, 0))}, ${text}`, step };
}

function laneRow(lane) {
  const now = element("span", { className: "now" });
  const jump = element("button", {
    type: "button",
    className: "peak",
    title: "choose the step with the most",
    onclick: () => {
      const { step } = figure(lane);
      range.choose(step - 1, step + 2);
    },
  });
  const picture = canvas({ "aria-hidden": "true" }, LANE_HEIGHT, (context, width, height) => {
    drawLane(lane, context, width, height);
    const value = range.cursor === null ? null : lane.values[range.cursor];
    const marked = range.cursor === null || !lane.marked ? null : lane.marked[1][range.cursor];
    const { text, step } = figure(lane);
    jump.textContent = text;
    jump.disabled = step === null;
    jump.hidden = range.cursor !== null;
    now.textContent = range.cursor === null ? "" : value === null ? "unknown"
      : format.value(value, lane.unit) + (marked ? ` · ${format.count(marked)} ${lane.marked[0]}` : "");
  });
  brush(picture);
  const marked = lane.marked ? element("span", { className: "key" }, lane.marked[0]) : null;
  return element("div", { className: "lane" },
    element("div", { className: "label" },
      element("b", {}, lane.title), " ", element("span", { className: "dim" }, lane.what), " ", marked,
      lane.warnings.length ? element("span", { className: "lost", title: lane.warnings.join("\n") }, "lossy") : null),
    picture,
    element("div", { className: "figure" }, jump, now));
}

function timeline() {
  const lanes = data.lanes.map(laneRow);
  const axis = canvas({ "aria-hidden": "true" }, AXIS_HEIGHT, (context, width) => {
    shadeGaps(null, context, 0, width, 4);
    drawAxis(context, width);
  });
  brush(axis);
  const said = () => {
    const step = range.cursor ?? range.bounds().from;
    const values = data.lanes.map((lane) => {
      const value = lane.values[step];
      return `${lane.title} ${value === null ? "unknown" : format.value(value, lane.unit)}`;
    });
    return `${format.offset(step * data.time.step)}: ${values.join(", ")}`;
  };
  const slider = element("div", {
    className: "lanes",
    tabIndex: 0,
    role: "slider",
    "aria-label": "Time: arrows look, with Shift they choose, Enter chooses the step, Escape the whole time",
    "aria-valuemin": 0,
    "aria-valuemax": data.time.steps - 1,
    "aria-valuenow": 0,
  }, ...lanes, element("div", { className: "lane axis" }, element("div", { className: "label dim" }, "after the start"), axis, element("div", { className: "figure" })));
  slider.addEventListener("keydown", (event) => {
    if (event.target !== slider) return;
    const last = data.time.steps - 1;
    const at = range.cursor ?? range.bounds().from;
    const far = Math.max(1, Math.round(data.time.steps / 20));
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far, Home: -at, End: last - at };
    if (event.key in moves) {
      const next = Math.max(0, Math.min(last, at + moves[event.key]));
      if (event.shiftKey) {
        const { chosen } = range;
        const anchor = chosen ? (at >= chosen.to - 1 ? chosen.from : chosen.to - 1) : at;
        range.choose(Math.min(anchor, next), Math.max(anchor, next) + 1);
      }
      range.look(next);
    } else if (event.key === "Enter" || event.key === " ") range.choose(at, at + 1);
    else if (event.key === "Escape") {
      range.clear();
      range.look(null);
    } else return;
    event.preventDefault();
    slider.setAttribute("aria-valuenow", range.cursor ?? 0);
    slider.setAttribute("aria-valuetext", said());
  });
  const gaps = data.gaps.map((gap) => element("li", {}, gap.said));
  const what = `each step is ${data.time.said}; drag over it to choose a part of the time, click to take it back`;
  return section("timeline", "Timeline", { what },
    slider,
    gaps.length ? element("details", { className: "more" }, element("summary", {}, `When something was lost, shaded above: ${gaps.length}`), element("ul", {}, gaps)) : null);
}
