"use strict";
// How values are written, as the terminal's tables write them. Times are nanoseconds after the page's start.

const data = JSON.parse(document.getElementById("data").textContent);

const format = {
  duration(ns) {
    const size = Math.abs(ns);
    if (size < 1e3) return `${Math.round(ns)}ns`;
    if (size < 1e6) return `${(ns / 1e3).toFixed(1)}µs`;
    if (size < 1e9) return `${(ns / 1e6).toFixed(2)}ms`;
    return `${(ns / 1e9).toFixed(3)}s`;
  },

  bytes(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = 0;
    let value = bytes;
    while (Math.abs(value) >= 1024 && unit < units.length - 1) {
      value /= 1024;
      unit += 1;
    }
    return unit === 0 ? `${Math.round(value)}B` : `${value.toFixed(1)}${units[unit]}`;
  },

  /** Whole numbers with commas. */
  count(number) {
    return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  },

  /** Large counts, short: for places without room. */
  short(number) {
    if (number >= 1e9) return `${(number / 1e9).toFixed(1)}G`;
    if (number >= 1e6) return `${(number / 1e6).toFixed(1)}M`;
    if (number >= 1e4) return `${(number / 1e3).toFixed(0)}k`;
    return format.count(number);
  },

  share(part) {
    const percent = part * 100;
    return `${percent >= 99.95 ? percent.toFixed(0) : percent.toFixed(percent < 10 ? 1 : 0)} %`;
  },

  /** A value of a lane or of a flame graph, by its unit. */
  value(value, unit) {
    switch (unit) {
      case "share": return format.share(value);
      case "ns": return format.duration(value);
      case "bytes": return format.bytes(value);
      default: return unit === "count" ? format.count(value) : `${format.count(value)} ${unit}`;
    }
  },

  /** After the start, with as many digits as a step is worth. */
  offset(ns) {
    const digits = data.time.step >= 1e9 ? 0 : data.time.step >= 1e8 ? 1 : data.time.step >= 1e7 ? 2 : 3;
    const seconds = ns / 1e9;
    if (seconds < 120) return `${seconds.toFixed(digits)} s`;
    const minutes = Math.floor(seconds / 60);
    const rest = (seconds - minutes * 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return minutes < 120 ? `${minutes}:${rest} min` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
  },

  /** The time of day, in UTC. */
  clock(ns) {
    const ms = Number((BigInt(data.time.start) + BigInt(Math.round(ns))) / 1000000n);
    return new Date(ms).toISOString().slice(11, data.time.step >= 1e9 ? 19 : 23);
  },

  /** A part of the time, in steps. */
  range(from, to) {
    const end = Math.min(to * data.time.step, data.time.length);
    return `${format.offset(from * data.time.step)} – ${format.offset(end)}`;
  },
};
