// Flame graphs, drawn downwards: who is called stands below its caller, as wide as its share of the chosen time.

const FRAME_HEIGHT = 17;

/** A name without what says its kind, and that. */
function frameName(name) {
  const kind = /_\[([kij])\]$/.exec(name);
  return kind ? [name.slice(0, -4), kind[1]] : [name, ""];
}

const KINDS = { k: "kernel", i: "inlined", j: "compiled by the program itself" };

class Flame {
  constructor(flame) {
    this.flame = flame;
    this.names = flame.names.map(frameName);
    const count = flame.parents.length;
    // Where each node's descendants end, and how deep it is. Parents stand before their children.
    this.ends = new Uint32Array(count);
    this.depths = new Uint16Array(count);
    for (let node = 0; node < count; node += 1) this.depths[node] = node === 0 ? 0 : this.depths[flame.parents[node]] + 1;
    for (let node = count - 1; node >= 0; node -= 1) {
      this.ends[node] = Math.max(this.ends[node], node + 1);
      if (node > 0) this.ends[flame.parents[node]] = Math.max(this.ends[flame.parents[node]], this.ends[node]);
    }
    this.own = new Float64Array(count);
    this.totals = new Float64Array(count);
    this.zoomed = 0;
    this.focused = 0;
    this.found = null;
    this.boxes = [];
  }

  /** Adds up the chosen steps. */
  sum(part) {
    const { flame } = this;
    const from = part && flame.steps ? Math.floor(part.from / flame.steps) : 0;
    const to = part && flame.steps ? Math.ceil(part.to / flame.steps) : Infinity;
    this.totals.fill(0);
    for (let node = flame.parents.length - 1; node >= 0; node -= 1) {
      const weights = flame.weights[node];
      let own = 0;
      let step = 0;
      for (let at = 0; at < weights.length; at += 2) {
        step += weights[at];
        if (step >= to) break;
        if (step >= from) own += weights[at + 1];
      }
      this.own[node] = own;
      this.totals[node] += own;
      if (node > 0) this.totals[flame.parents[node]] += this.totals[node];
    }
  }

  name(node) {
    return this.names[this.flame.labels[node]][0];
  }

  weight(node) {
    return format.value(this.totals[node] * this.flame.scale, this.flame.unit);
  }

  /** All that is known of a node, in a line. */
  said(node) {
    const kind = KINDS[this.names[this.flame.labels[node]][1]];
    const all = this.totals[0] || 1;
    const own = format.value(this.own[node] * this.flame.scale, this.flame.unit);
    return `${this.name(node)}${kind ? ` (${kind})` : ""}: ${this.weight(node)}, ${format.share(this.totals[node] / all)}; ${own} of it itself`;
  }

  /** The nodes whose names match, and the share of what they are in; none counts twice. */
  search(pattern) {
    if (!pattern) {
      this.found = null;
      return null;
    }
    const matches = this.names.map(([name]) => pattern.test(name));
    this.found = new Set();
    let share = 0;
    let within = 0;
    for (let node = 0; node < this.flame.parents.length; node += 1) {
      if (!matches[this.flame.labels[node]]) continue;
      this.found.add(node);
      if (node >= within) {
        share += this.totals[node];
        within = this.ends[node];
      }
    }
    return this.totals[0] ? share / this.totals[0] : 0;
  }

  children(node) {
    const all = [];
    for (let child = node + 1; child < this.ends[node]; child = this.ends[child]) {
      if (this.totals[child] > 0) all.push(child);
    }
    return all;
  }

  /** The rows that are needed below the node that is zoomed to, and those above it. */
  rows() {
    let deepest = this.depths[this.zoomed];
    for (let node = this.zoomed; node < this.ends[this.zoomed]; node += 1) {
      if (this.totals[node] > 0) deepest = Math.max(deepest, this.depths[node]);
    }
    return deepest + 1;
  }

  colour(node) {
    const [name, kind] = this.names[this.flame.labels[node]];
    let hash = 0;
    for (let at = 0; at < Math.min(name.length, 24); at += 1) hash = (hash * 31 + name.charCodeAt(at)) & 0xffff;
    const hue = colours.get(this.depths[node] <= 1 ? "frame-thread" : kind === "k" ? "frame-kernel" : kind === "j" ? "frame-jit"
      : kind === "i" ? "frame-inlined" : name.startsWith("[") ? "frame-other" : "frame-user");
    const [h, s, l] = hue.split(" ").map(parseFloat);
    return `hsl(${h} ${s}% ${l + (hash % 7) - 3}%)`;
  }

  draw(context, width, focus) {
    this.boxes = [];
    const zoomed = this.zoomed;
    const total = this.totals[zoomed];
    context.textBaseline = "middle";
    context.textAlign = "left";
    const box = (node, x, wide) => {
      const y = this.depths[node] * FRAME_HEIGHT;
      const found = this.found?.has(node);
      context.globalAlpha = this.found && !found ? 0.45 : 1;
      context.fillStyle = found ? colours.get("found") : this.colour(node);
      context.fillRect(x, y, Math.max(0.5, wide - (wide > 3 ? 1 : 0)), FRAME_HEIGHT - 1);
      if (wide > 26) {
        const name = this.name(node);
        const fit = Math.floor((wide - 6) / 6.1);
        context.fillStyle = found ? colours.get("found-text") : colours.get("frame-text");
        context.fillText(name.length > fit ? `${name.slice(0, Math.max(1, fit - 1))}…` : name, x + 3, y + FRAME_HEIGHT / 2);
      }
      context.globalAlpha = 1;
      this.boxes.push([node, x, wide, y]);
      if (node === this.focused && focus) {
        context.strokeStyle = colours.get("text");
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, Math.max(1, wide - 3), FRAME_HEIGHT - 3);
      }
    };
    for (let node = zoomed; node !== 0;) {
      node = this.flame.parents[node];
      box(node, 0, width);
    }
    if (!total) return;
    const next = new Map([[zoomed, 0]]);
    for (let node = zoomed; node < this.ends[zoomed];) {
      const wide = (this.totals[node] / total) * width;
      const parent = this.flame.parents[node];
      const x = next.get(node === zoomed ? zoomed : parent);
      if (node !== zoomed) next.set(parent, x + wide);
      if (wide < 0.3) {
        node = this.ends[node];
        continue;
      }
      next.set(node, x);
      box(node, x, wide);
      node += 1;
    }
  }

  /** The node at a place of the canvas. */
  at(x, y) {
    const hit = this.boxes.find(([, left, wide, top]) => y >= top && y < top + FRAME_HEIGHT && x >= left && x < left + wide);
    return hit ? hit[0] : null;
  }

  /** What names weigh themselves, the most first. */
  heaviest(most) {
    const sums = new Map();
    this.own.forEach((own, node) => {
      const label = this.flame.labels[node];
      if (own > 0) sums.set(label, (sums.get(label) ?? 0) + own);
    });
    return [...sums].sort((one, other) => other[1] - one[1]).slice(0, most);
  }
}

/** The pattern that was typed; `null` if it is none. */
function pattern(text) {
  try {
    return text ? new RegExp(text, "i") : undefined;
  } catch {
    return null;
  }
}

function flameSection(flame) {
  const graph = new Flame(flame);
  const name = `flame-${flame.id}`;
  const status = element("p", { className: "status", role: "status", id: `${name}-status` });
  const share = element("output", { className: "share", "aria-live": "polite" });
  const input = element("input", { type: "search", placeholder: "search (regular expression)", "aria-label": `Search in ${flame.title}`, spellcheck: false });
  const back = element("button", { type: "button", hidden: true, onclick: () => zoom(0) }, "Zoom out");
  const picture = canvas({
    tabIndex: 0,
    role: "application",
    "aria-label": `Flame graph, ${flame.title}: arrows go to caller, callee and neighbours, Enter zooms, Escape zooms out, / searches`,
    "aria-describedby": `${name}-status`,
  }, () => Math.max(2, graph.rows()) * FRAME_HEIGHT, (context, width) => graph.draw(context, width, document.activeElement === picture));
  const heaviest = element("tbody");
  const scroller = element("div", { className: "flame" }, picture);

  const say = (node) => { status.textContent = node === null ? "" : graph.said(node); };
  const zoom = (node) => {
    graph.zoomed = node;
    graph.focused = node;
    back.hidden = node === 0;
    say(node);
    redraw();
  };
  const focus = (node) => {
    graph.focused = node;
    say(node);
    const y = graph.depths[node] * FRAME_HEIGHT;
    if (y < scroller.scrollTop) scroller.scrollTop = y;
    if (y + FRAME_HEIGHT > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = y + FRAME_HEIGHT - scroller.clientHeight;
    redraw();
  };
  const search = () => {
    const wanted = pattern(input.value);
    input.setAttribute("aria-invalid", wanted === null);
    const found = wanted === null ? null : graph.search(wanted);
    share.textContent = wanted === null ? "no regular expression" : found === null ? "" : `${format.share(found)} matched`;
    redraw();
  };
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = "";
      search();
      picture.focus();
    } else if (event.key === "Enter") {
      const found = [...(graph.found ?? [])].filter((node) => graph.totals[node] > 0);
      if (found.length) {
        picture.focus();
        focus(found[0]);
      }
    }
  });
  picture.addEventListener("pointermove", (event) => {
    const node = graph.at(event.offsetX, event.offsetY);
    picture.style.cursor = node === null ? "" : "pointer";
    say(node ?? graph.focused);
  });
  picture.addEventListener("click", (event) => {
    const node = graph.at(event.offsetX, event.offsetY);
    if (node !== null) zoom(node);
  });
  picture.addEventListener("focus", redraw);
  picture.addEventListener("blur", redraw);
  picture.addEventListener("keydown", (event) => {
    const node = graph.focused;
    const parent = flame.parents[node];
    const siblings = graph.children(parent);
    const place = siblings.indexOf(node);
    const below = graph.children(node);
    if (event.key === "ArrowUp") focus(parent);
    else if (event.key === "ArrowDown" && below.length) focus(below.reduce((one, other) => (graph.totals[other] > graph.totals[one] ? other : one)));
    else if (event.key === "ArrowLeft" && place > 0) focus(siblings[place - 1]);
    else if (event.key === "ArrowRight" && place >= 0 && place + 1 < siblings.length) focus(siblings[place + 1]);
    else if (event.key === "Enter") zoom(node);
    else if (event.key === "Escape") zoom(graph.zoomed === 0 ? 0 : flame.parents[graph.zoomed]);
    else if (event.key === "/") input.focus();
    else return;
    event.preventDefault();
  });

  const made = section(name, flame.title, flame,
    element("div", { className: "tools" }, input, share, back),
    element("div", { className: "beside" }, scroller,
      element("table", { className: "heaviest" },
        element("caption", {}, "Most in themselves"),
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "function"),
          element("th", { scope: "col", className: "right" }, flame.unit === "ns" ? "time" : flame.unit),
          element("th", { scope: "col", className: "right" }, "share"))),
        heaviest)),
    status);
  range.listen((part) => {
    graph.sum(part);
    if (!graph.totals[graph.zoomed]) zoom(0);
    else say(graph.zoomed);
    if (input.value) search();
    const all = graph.totals[0] || 1;
    heaviest.replaceChildren(...graph.heaviest(14).map(([label, own]) => element("tr", {},
      element("td", {}, element("button", {
        type: "button",
        title: graph.names[label][0],
        onclick: () => {
          input.value = `^${graph.names[label][0].replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
          search();
        },
      }, graph.names[label][0])),
      element("td", { className: "right" }, format.value(own * flame.scale, flame.unit)),
      element("td", { className: "right" }, format.share(own / all)))));
    made.querySelector(".whole").hidden = part === null || flame.steps !== 0;
    made.classList.toggle("empty", !graph.totals[0]);
  });
  return made;
}
