// The page: what was recorded and what is missing first, then the clock, then everything by itself.

/** Facts that come first; the rest can be opened. */
const FIRST_FACTS = ["recording", "host", "command", "filters", "began", "ended", "stopped", "kept"];

function facts() {
  const list = (wanted) => element("dl", { className: "facts" }, data.facts.filter(([name]) => wanted === FIRST_FACTS.includes(name))
    .flatMap(([name, fact]) => [element("dt", {}, name), element("dd", {}, fact)]));
  const absent = (recorded) => {
    const titles = data.absent.filter((each) => each.recorded === recorded).map((each) => each.title + (each.lossy ? " (events were lost)" : ""));
    return [...new Set(titles)];
  };
  const [none, unseen] = [absent(true), absent(false)];
  return section("summary", "What was recorded", {},
    list(true),
    none.length ? element("p", { className: "absent" }, element("b", {}, "Recorded, but without a row: "), none.join(", "), ".") : null,
    element("details", { className: "more" }, element("summary", {}, "Tracers, their hooks, stacks and names"), list(false)),
    unseen.length ? element("details", { className: "more" }, element("summary", {}, `Not recorded: ${unseen.length} sections of this page`), element("p", {}, unseen.join(", "), ".")) : null);
}

/** What stands out, each with where it is told, and when it was. */
function glance() {
  const table = (id) => data.tables.find((each) => each.id === id && !each.error);
  const items = [];
  const put = (text, id, time, bad) => items.push(element("li", {}, element("a", {
    href: `#table-${id}`,
    className: bad ? "bad" : "",
    onclick: () => { if (time) chooseTime(time); },
  }, text)));
  const failed = (id, one, many) => {
    const found = table(id);
    if (found?.total) put(`${format.count(found.total)} ${found.total === 1 ? one : many}`, id, null, true);
  };
  const exits = table("exits");
  if (exits) {
    const column = exits.columns.findIndex(([header]) => header === "EXIT_CODE");
    const killed = exits.rows.map((row, index) => [row[column], exits.times[index]]).filter(([status]) => /^signal/.test(status ?? ""));
    const more = exits.total > exits.rows.length ? " or more" : "";
    if (killed.length) put(`${format.count(killed.length)}${more} ended by a signal, the first at ${format.offset(killed[0][1][0])}`, "exits", killed[0][1], true);
  }
  failed("failed-connects", "TCP connect failed", "TCP connects failed");
  failed("failed-opens", "open failed", "opens failed");
  for (const [id, title] of [["waits", "longest wait for a CPU"], ["pauses", "longest collection"], ["slow-spans", "longest span"]]) {
    const found = table(id);
    const time = found?.times[0];
    if (time) put(`${title} ${format.duration(time[1] - time[0])} at ${format.offset(time[0])}`, id, time, false);
  }
  if (data.sites?.sites.length) {
    items.push(element("li", {}, element("a", { href: "#leaks" }, `${format.bytes(data.sites.sites.reduce((sum, site) => sum + site.bytes, 0))} not freed in the ${data.sites.sites.length} largest places`)));
  }
  return items.length ? element("ul", { className: "glance", "aria-label": "What stands out" }, items) : null;
}

function build() {
  const page = document.getElementById("page");
  const [info, ...tables] = data.tables.map(tableSection);
  const sections = [
    ["timeline", "Timeline", data.lanes.length ? timeline() : null],
    ...data.flames.map((flame) => [`flame-${flame.id}`, flame.title, flameSection(flame)]),
    ...data.distributions.map((each) => [`latency-${each.id}`, each.title, latency(each)]),
    ["leaks", "Leaks", data.sites ? sitesSection(data.sites) : null],
    ...tables.map((made) => [made.id, made.querySelector("h2").textContent, made]),
    ["table-tables", "Tables of the recording", info],
  ].filter(([, , made]) => made);
  const grid = element("div", { className: "latencies" });
  const latencies = element("div", { id: "latencies" }, grid);
  const [links, body] = [[], []];
  for (const [id, title, made] of sections) {
    if (!id.startsWith("latency-")) {
      links.push([id, title]);
      body.push(made);
      continue;
    }
    if (!grid.hasChildNodes()) {
      links.push(["latencies", "Latencies"]);
      body.push(latencies);
    }
    grid.append(made);
  }
  page.append(
    element("header", { className: "top" },
      element("h1", {}, data.host, " ", element("span", { className: "dim" }, data.covers)),
      theme.button()),
    data.warnings.length ? element("ul", { className: "lossy", id: "losses", role: "alert" }, data.warnings.map((text) => element("li", {}, text))) : "",
    glance() ?? "",
    facts(),
    bar(links),
    element("main", {}, body));
  redraw();
}

build();
