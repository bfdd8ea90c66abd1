// The page: what was recorded and what is missing first, then the clock, then everything by itself.

/** Facts that come first; the rest can be opened. */
const FIRST_FACTS = ["recording", "host", "command", "filters", "began", "ended", "stopped", "kept"];

function facts() {
  const list = (wanted) => element("dl", { className: "facts" }, data.facts.filter(([name]) => wanted === FIRST_FACTS.includes(name))
    .flatMap(([name, fact]) => [element("dt", {}, name), element("dd", {}, fact)]));
  const absent = (recorded) => data.absent.filter((each) => each.recorded === recorded).map((each) => each.title);
  const [none, unseen] = [[...new Set(absent(true))], [...new Set(absent(false))]];
  return section("summary", "What was recorded", {},
    list(true),
    element("details", { className: "more" }, element("summary", {}, "Tracers, their hooks, stacks and names"), list(false)),
    none.length ? element("p", { className: "absent" }, element("b", {}, "Nothing happened: "), none.join(", "), ".") : null,
    unseen.length ? element("p", { className: "absent" }, element("b", {}, "Not recorded: "), unseen.join(", "), ".") : null);
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
  const shown = sections.map(([id, title]) => [id, title]);
  const latencies = element("div", { className: "latencies" });
  const body = [];
  for (const [id, , made] of sections) {
    if (!id.startsWith("latency-")) body.push(made);
    else if (latencies.append(made) === undefined && !body.includes(latencies)) body.push(latencies);
  }
  page.append(
    element("header", { className: "top" },
      element("h1", {}, data.host, " ", element("span", { className: "dim" }, data.covers)),
      theme.button()),
    data.warnings.length ? element("ul", { className: "lossy", id: "losses", role: "alert" }, data.warnings.map((text) => element("li", {}, text)))
      : element("p", { className: "whole-data", id: "losses" }, "No loss was recorded."),
    facts(),
    bar(shown),
    element("main", {}, body));
  redraw();
}

build();
