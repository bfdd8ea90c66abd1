// Tables that sort and filter, and keep to the chosen time where their rows have one.

/** So many rows are shown before somebody asks for more. */
const SHOWN = 100;

/** Columns whose numbers are amounts, and not names such as a pid. */
const AMOUNTS = /^(COUNT|ROWS|BYTES|SEEN|LOST|ERRORS|FAILED|WAITS|OPEN|BYTES\/ROW|count|bytes)$/;

function cellText(cell, header) {
  if (cell === null) return "–";
  if (Array.isArray(cell)) return cell[1];
  if (typeof cell === "number") return AMOUNTS.test(header) ? format.count(cell) : String(cell);
  return cell;
}

/** What a cell sorts by: numbers before texts, unknown last. */
function compare(one, other) {
  const [a, b] = [one, other].map((cell) => (Array.isArray(cell) ? cell[0] : cell));
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, "en", { numeric: true });
}

/** Sums of the chosen steps in place of those of the whole time. What cannot be summed up is unknown. */
function sumSteps(table, index, part) {
  const [count, failed, time] = [0, 1, 2].map((place) => {
    const steps = table.steps[index];
    let sum = 0;
    for (let at = 0; at < steps.length; at += 4) {
      if (steps[at] >= part.from && steps[at] < part.to) sum += steps[at + 1 + place];
    }
    return sum;
  });
  if (count === 0) return null;
  return table.rows[index].map((cell, place) => {
    switch (table.columns[place][0]) {
      case "COUNT": return count;
      case "ERRORS": return failed;
      case "TIME(us)": return [time, (time / 1e3).toFixed(3)];
      case "MEAN": return [time / count, format.duration(time / count)];
      case "P99":
      case "MAX": return null;
      default: return cell;
    }
  });
}

/** Lines that a tree draws before a name mean nothing where rows are not in its order. */
const DRAWN = /^(?:(?:│ {2}| {3})*(?:├─|└─) )/;

class Table {
  constructor(table) {
    this.table = table;
    this.sort = null;
    this.filter = "";
    this.most = SHOWN;
    this.closed = new Set();
    this.texts = table.rows.map((row) => row.map((cell, place) => cellText(cell, table.columns[place][0])).join("\n").toLowerCase());
  }

  isTree() {
    return this.table.depths.length > 0 && !this.sort;
  }

  /** Whether a row's time reaches into the chosen one. */
  inTime(index, part) {
    const time = this.table.times[index];
    if (!part || !time) return true;
    const { from, to } = range.time();
    return (time[0] ?? -Infinity) < to && (time[1] ?? Infinity) >= from;
  }

  /** The places of the rows to show, with their cells. */
  chosen() {
    const { table } = this;
    const part = range.chosen;
    const wanted = this.filter.toLowerCase();
    let rows = [];
    table.rows.forEach((row, index) => {
      if (!this.inTime(index, part)) return;
      const cells = part && table.steps.length ? sumSteps(table, index, part) : row;
      if (cells) rows.push({ index, cells, hit: !wanted || this.texts[index].includes(wanted) });
    });
    if (this.isTree()) return this.branches(rows, wanted !== "");
    rows = rows.filter((row) => row.hit);
    if (this.sort) {
      const { column, down } = this.sort;
      // Unknown is last in both orders.
      const known = (row) => row.cells[column] !== null;
      rows.sort((one, other) => known(other) - known(one)
        || (down ? -1 : 1) * compare(one.cells[column], other.cells[column]) || one.index - other.index);
    }
    return rows;
  }

  /** Rows of a tree: with those they are below, without those below closed ones. */
  branches(rows, filtered) {
    const { depths } = this.table;
    const kept = [];
    let open = [];
    let hiddenBelow = Infinity;
    for (const row of rows) {
      const depth = depths[row.index];
      if (depth <= hiddenBelow) hiddenBelow = Infinity;
      open = open.filter((above) => depths[above.index] < depth);
      if (filtered) {
        if (row.hit) {
          kept.push(...open.filter((above) => !above.kept), row);
          for (const each of [...open, row]) each.kept = true;
        }
      } else if (hiddenBelow === Infinity) kept.push(row);
      open.push(row);
      if (!filtered && this.closed.has(row.index)) hiddenBelow = Math.min(hiddenBelow, depth);
    }
    return kept;
  }

  hasChildren(index) {
    return (this.table.depths[index + 1] ?? 0) > this.table.depths[index];
  }
}

/** Chooses the steps of a row's time. */
function chooseTime(time) {
  const from = range.step(time[0] ?? 0);
  range.choose(from, range.step(time[1] ?? data.time.length) + 1);
}

function tableSection(table) {
  if (table.error) return section(`table-${table.id}`, table.title, table, element("p", { className: "error" }, table.error));
  const shown = new Table(table);
  const body = element("tbody");
  const status = element("span", { className: "dim", role: "status" });
  const more = element("button", { type: "button", onclick: () => { shown.most = shown.most === SHOWN ? 1000 : Infinity; fill(); } });
  const filter = element("input", { type: "search", placeholder: "filter", "aria-label": `Filter ${table.title}`, spellcheck: false,
    oninput: () => { shown.filter = filter.value; shown.most = SHOWN; fill(); } });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { filter.value = ""; shown.filter = ""; fill(); }
    if (event.key === "Enter" || event.key === "ArrowDown") body.querySelector("tr")?.focus();
  });
  const heads = table.columns.map(([header, right], column) => element("th", { scope: "col", className: right ? "right" : "", "aria-sort": "none" },
    element("button", { type: "button", onclick: () => sort(column) }, header || " ")));

  const sort = (column) => {
    const down = shown.sort?.column === column ? !shown.sort.down : typeof (table.rows.find((row) => row[column] !== null)?.[column] ?? "") !== "string";
    // The third time it is as it came.
    const again = shown.sort?.column === column && shown.sort.turns === 1;
    shown.sort = again ? null : { column, down, turns: (shown.sort?.column === column ? shown.sort.turns : -1) + 1 };
    heads.forEach((head, place) => head.setAttribute("aria-sort", shown.sort?.column === place ? (shown.sort.down ? "descending" : "ascending") : "none"));
    fill();
  };
  const toggle = (index) => {
    if (!shown.closed.delete(index)) shown.closed.add(index);
    fill(index);
  };
  const row = ({ index, cells }, place) => {
    const time = table.times[index];
    const tree = shown.isTree();
    const parent = tree && shown.hasChildren(index);
    const made = element("tr", {
      tabIndex: place === 0 ? 0 : -1,
      "data-row": index,
      "aria-level": tree ? table.depths[index] + 1 : null,
      "aria-expanded": parent ? !shown.closed.has(index) : null,
    }, cells.map((cell, column) => {
      let text = cellText(cell, table.columns[column][0]);
      const drawn = table.depths.length > 0 && column === 0;
      if (drawn && !tree) text = text.replace(DRAWN, "");
      const classes = [table.columns[column][1] ? "right" : "", drawn ? "drawn" : "", cell === null ? "dim" : ""];
      return element("td", { className: classes.join(" ").trim(), title: text.length > 60 ? text : undefined }, text,
        parent && drawn && shown.closed.has(index) ? element("span", { className: "dim" }, " …") : null);
    }));
    if (time || parent) made.className = "acts";
    made.addEventListener("click", () => {
      if (String(getSelection())) return;
      if (parent) toggle(index);
      else if (time) chooseTime(time);
    });
    return made;
  };
  const fill = (focused) => {
    const rows = shown.chosen();
    const visible = rows.slice(0, shown.most);
    // Whoever stands on a row stays there.
    if (focused === undefined && body.contains(document.activeElement)) focused = document.activeElement.dataset.row;
    body.replaceChildren(...visible.map(row));
    if (focused !== undefined) body.querySelector(`[data-row="${focused}"]`)?.focus();
    const kept = table.rows.length;
    const parts = [rows.length === kept ? `${format.count(kept)} ${kept === 1 ? "row" : "rows"}` : `${format.count(rows.length)} of ${format.count(kept)} rows`];
    if (table.total > kept) parts.push(`the ${table.largest ? "largest" : "first"} of ${format.count(table.total)}`);
    status.textContent = parts.join(", ");
    more.hidden = rows.length <= shown.most;
    more.textContent = shown.most === SHOWN && rows.length > 1000 ? `Show 1,000 of ${format.count(rows.length)}` : `Show all ${format.count(rows.length)}`;
  };
  body.addEventListener("keydown", (event) => {
    const at = event.target.closest("tr");
    if (!at) return;
    const index = Number(at.dataset.row);
    const go = (to) => {
      if (!to) return;
      at.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    };
    const parent = shown.isTree() && shown.hasChildren(index);
    if (event.key === "ArrowDown") go(at.nextElementSibling);
    else if (event.key === "ArrowUp") go(at.previousElementSibling);
    else if (event.key === "Home") go(body.firstElementChild);
    else if (event.key === "End") go(body.lastElementChild);
    else if (event.key === "ArrowLeft" && parent && !shown.closed.has(index)) toggle(index);
    else if (event.key === "ArrowRight" && parent && shown.closed.has(index)) toggle(index);
    else if (event.key === "Enter" && table.times[index]) chooseTime(table.times[index]);
    else if (event.key === "Escape") {
      if (range.chosen) range.clear();
      else filter.focus();
    } else return;
    event.preventDefault();
  });
  const scroller = element("div", { className: "scroll", role: "region", tabIndex: 0, "aria-label": `${table.title}, rows` },
    element("table", { role: table.depths.length ? "treegrid" : null, className: table.columns.at(-1)?.[1] ? "packed" : "" }, element("thead", {}, element("tr", {}, heads)), body));
  const made = section(`table-${table.id}`, table.title, table,
    element("div", { className: "tools" }, filter, status, more), scroller);
  range.listen((part) => {
    fill();
    made.querySelector(".whole").hidden = part === null || table.times.length > 0 || table.steps.length > 0;
  });
  return made;
}

/** Where memory is outstanding: the call stacks, and how each grew. */
function sitesSection(sites) {
  const about = { what: "who allocated what was not freed at the end, the most first; the line is how it grew", ...sites };
  if (sites.error) return section("leaks", "Memory that was not freed", about, element("p", { className: "error" }, sites.error));
  const most = (site) => Math.max(1, ...site.growth.filter((bytes) => bytes !== null));
  const row = (site) => {
    const line = canvas({ className: "spark", "aria-hidden": "true" }, 22, (context, width, height) => {
      context.strokeStyle = colours.get("series");
      context.lineWidth = 1.5;
      let drawn = false;
      context.beginPath();
      site.growth.forEach((bytes, place) => {
        const x = (sites.instants[place] / data.time.length) * (width - 2) + 1;
        const y = height - 2 - ((bytes ?? 0) / most(site)) * (height - 4);
        if (bytes === null) drawn = false;
        else if (drawn) context.lineTo(x, y);
        else { context.moveTo(x, y); drawn = true; }
      });
      context.stroke();
    });
    const [first, ...rest] = site.stack;
    const callers = rest.slice(0, 2).map((frame) => ` ← ${frame}`).join("");
    const known = site.growth.map((bytes, place) => [bytes, sites.instants[place]]).filter(([bytes]) => bytes !== null);
    const said = known.length > 1
      ? `from ${format.bytes(known[0][0])} at ${format.offset(known[0][1])} to ${format.bytes(known.at(-1)[0])} at ${format.offset(known.at(-1)[1])}` : "";
    return element("tr", {},
      element("td", { className: "right" }, site.size),
      element("td", { className: "right" }, format.count(site.count)),
      element("td", { title: said }, line, element("span", { className: "unseen" }, said)),
      element("td", {}, element("details", {}, element("summary", {}, first ?? "no stack", element("span", { className: "dim" }, callers)), element("ol", {}, rest.map((frame) => element("li", {}, frame))))));
  };
  const heads = [["bytes", true], ["blocks", true], ["over time", false], ["allocated in", false]];
  const made = section("leaks", "Memory that was not freed", about,
    element("div", { className: "scroll sites", role: "region", tabIndex: 0, "aria-label": "Call stacks" },
      element("table", {},
        element("thead", {}, element("tr", {}, heads.map(([text, right]) => element("th", { scope: "col", className: right ? "right" : "" }, text)))),
        element("tbody", {}, sites.sites.map(row)))));
  range.listen((part) => { made.querySelector(".whole").hidden = part === null; });
  return made;
}
