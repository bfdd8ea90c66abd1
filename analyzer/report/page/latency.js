// Durations: a heat map over time, and the histogram of the chosen part beside it, on one scale.

const ROW_HEIGHT = 12;
const SCALE_WIDTH = 50;

/** The first microsecond of a histogram's row. */
function rowStart(row) {
  return row === 0 ? 0 : 2 ** row;
}

/** A row's edge in words. */
function rowLabel(row) {
  if (row === 0) return "0";
  // Three digits tell powers of two apart.
  const [, number, unit] = /^([\d.]+)(\D+)$/.exec(format.duration(rowStart(row) * 1e3));
  return `${Number(Number(number).toPrecision(3))}${unit}`;
}

/** How often each row occurs in the steps from `from` to `to`. */
function histogram(distribution, from, to) {
  const rows = [];
  for (let step = from; step < to; step += 1) {
    const cells = distribution.heat[step] ?? [];
    for (let at = 0; at < cells.length; at += 2) rows[cells[at]] = (rows[cells[at]] ?? 0) + cells[at + 1];
  }
  return Array.from(rows, (count) => count ?? 0);
}

/** Percentiles as the rows they are in: a bound is all that rows tell. */
function bounds(rows) {
  const count = rows.reduce((sum, each) => sum + each, 0);
  const said = [["count", format.count(count)]];
  if (count === 0) return said;
  for (const [name, share] of [["p50", 0.5], ["p90", 0.9], ["p99", 0.99], ["p99.9", 0.999], ["max", 1]]) {
    const rank = Math.max(1, Math.ceil(count * share));
    let passed = 0;
    const row = rows.findIndex((each) => (passed += each) >= rank);
    said.push([name, `< ${rowLabel(row + 1)}`]);
  }
  return said;
}

function latency(distribution) {
  const whole = histogram(distribution, 0, data.time.steps);
  const first = Math.max(0, whole.findIndex((count) => count > 0) - 1);
  const count = Math.max(1, whole.length - first);
  const height = count * ROW_HEIGHT + 4;
  const most = Math.max(1, ...distribution.heat.flatMap((cells) => cells.filter((_, place) => place % 2 === 1)));
  const y = (row) => height - 2 - (row - first + 1) * ROW_HEIGHT;
  const figures = element("dl", { className: "figures" });
  let rows = whole;

  const heat = canvas({ "aria-hidden": "true" }, height + AXIS_HEIGHT, (context, width) => {
    const wide = width - SCALE_WIDTH;
    const perStep = wide / data.time.steps;
    context.fillStyle = colours.get("dim");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let row = first; row < first + count; row += 2) {
      context.fillText(rowLabel(row), SCALE_WIDTH - 6, y(row) + ROW_HEIGHT);
    }
    const colour = colours.get("heat");
    shadeGaps(distribution.table, context, SCALE_WIDTH, wide, height);
    distribution.heat.forEach((cells, step) => {
      for (let at = 0; at < cells.length; at += 2) {
        // By the logarithm, and never so pale that one event is not seen.
        const strength = 0.14 + 0.86 * (Math.log1p(cells[at + 1]) / Math.log1p(most));
        context.fillStyle = `rgb(${colour} / ${strength.toFixed(3)})`;
        context.fillRect(SCALE_WIDTH + step * perStep, y(cells[at]), Math.max(1, perStep + 0.3), ROW_HEIGHT - 1);
      }
    });
    shade(context, SCALE_WIDTH, wide, height);
    context.save();
    context.translate(SCALE_WIDTH, height);
    drawAxis(context, wide);
    context.restore();
  });
  brush(heat, SCALE_WIDTH, 0);

  const bars = canvas({ "aria-hidden": "true" }, height + AXIS_HEIGHT, (context, width) => {
    const tallest = Math.max(1, ...rows);
    const room = 52;
    context.textBaseline = "middle";
    context.textAlign = "left";
    rows.forEach((each, row) => {
      if (each === 0) return;
      const wide = Math.max(1, (each / tallest) * (width - room));
      context.fillStyle = colours.get("bar");
      context.fillRect(0, y(row), wide, ROW_HEIGHT - 1);
      context.fillStyle = colours.get("dim");
      context.fillText(format.short(each), wide + 4, y(row) + ROW_HEIGHT / 2);
    });
    context.fillStyle = colours.get("dim");
    context.textBaseline = "top";
    context.fillText("count", 0, height + 4);
  });

  const cells = element("tbody");
  range.listen((part) => {
    rows = part ? histogram(distribution, part.from, part.to) : whole;
    const said = part ? bounds(rows) : distribution.summary;
    figures.replaceChildren(...said.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    cells.replaceChildren(...rows.flatMap((each, row) => each === 0 ? [] : [element("tr", {},
      element("td", { className: "right" }, rowLabel(row)), element("td", { className: "right" }, rowLabel(row + 1)),
      element("td", { className: "right" }, format.count(each)))]));
  });
  const numbers = element("details", { className: "more" }, element("summary", {}, "The histogram in numbers"),
    element("table", {}, element("thead", {}, element("tr", {},
      ["from", "below", "count"].map((name) => element("th", { scope: "col", className: "right" }, name)))), cells));
  const { id, title } = distribution;
  return section(`latency-${id}`, title, distribution, figures, element("div", { className: "heat" }, heat, bars), numbers);
}
