"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const measures = Object.fromEntries(data.measures.map((measure, place) => [measure.name, place]));
const rows = data.rows;
const none = "–";

/** An element with attributes and children; text is never markup. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const unsigned = (text) => (Number(text) === 0 ? text.replace("-", "") : text);
const number = (value, digits) => (value === null || value === undefined ? none : unsigned(value.toFixed(digits)).replace("-", "−"));
const signed = (value, digits) => (Number(value.toFixed(digits)) > 0 ? "+" : "") + number(value, digits);
function clock(seconds) {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
function lasting(seconds) {
  return seconds === undefined ? none : seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds);
}
const value = (row, side, name) => (row[side] ? row[side][measures[name]] : null);
const gainClass = (gain) => (gain === null || gain === undefined ? "" : gain < 0 ? "bad" : "good");

/* ---- the table: only rows that can be seen are drawn ---- */

const pair = (name, digits) => (row) => {
  const [before, after] = [value(row, "before", name), value(row, "after", name)];
  if (after === null && before === null) return [none];
  return [make("span", { class: "faint", text: `${number(before, digits)} → ` }), number(after, digits)];
};
const single = (side, name, digits) => (row) => [number(value(row, side, name), digits)];
const state = (row) => (row.failed ? "failed" : "done");
const columns = [
  { title: "recording", key: (row) => row.name, draw: nameCell },
  { title: "length", key: (row) => row.seconds, draw: (row) => [lasting(row.seconds)], width: "4.6rem", hide: "wide" },
  { title: "OVRL before", key: (row) => value(row, "before", "ovrl"), draw: single("before", "ovrl", 2), width: "7.9rem", hide: "wider" },
  { title: "after", key: (row) => value(row, "after", "ovrl"), draw: single("after", "ovrl", 2), width: "3.9rem" },
  { title: "gain", key: (row) => row.gain, draw: gainCell, width: "4.9rem" },
  { title: "SIG", key: (row) => value(row, "after", "sig"), draw: pair("sig", 2), width: "6.5rem", hide: "wide" },
  { title: "BAK", key: (row) => value(row, "after", "bak"), draw: pair("bak", 2), width: "6.5rem", hide: "wide" },
  { title: "LUFS", key: (row) => value(row, "after", "loudness_lufs"), draw: pair("loudness_lufs", 1), width: "7.8rem", hide: "wide" },
  { title: "floor dB", key: (row) => value(row, "after", "noise_floor_dbfs"), draw: pair("noise_floor_dbfs", 0), width: "6.3rem", hide: "wide" },
  { title: "guard s", key: (row) => row.guard, draw: (row) => [row.guard ? make("span", { class: "marked", text: number(row.guard, row.guard < 1 ? 2 : 1) }) : row.failed ? none : "0"], width: "4.7rem", hide: "wider" },
  { title: "state", key: state, draw: (row) => [row.failed ? make("span", { class: "bad", text: "failed" }) : "done"], width: "3.9rem", hide: "wider" },
];

function nameCell(row) {
  return [pathOf(row.name, row.failed ? make("span", { class: "badge", text: "failed" }) : isFlagged(row) ? flagBadge() : null)];
}
const isFlagged = (row) => Boolean(row.flags && row.flags.length);
const flagBadge = () => make("span", { class: "badge flag", text: "flagged" });
function gainCell(row) {
  if (row.gain === null || row.gain === undefined) return [none];
  return [make("span", { class: gainClass(row.gain), text: `${row.gain < 0 ? "▼ " : ""}${signed(row.gain, 2)}` })];
}

/** Where there is no room for all of a path, its folders give way to its name. */
function pathOf(name, before = null) {
  const cut = name.lastIndexOf("/") + 1;
  return make("span", { class: "path" }, before, cut ? make("span", { class: "folder", text: name.slice(0, cut) }) : null,
    make("span", { class: "base", text: name.slice(cut) }));
}

let shown = rows;
let chosen = 0;
let opened = null;
const sorting = { column: 4, up: true };
let filter = "";
let show = "all";

const grid = find("grid");
const body = find("body");
const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));

columns.forEach((column, place) => {
  const style = column.width ? `width: ${column.width}` : null;
  const title = make("button", { text: column.title, onclick: () => sortBy(place) });
  find("head").append(make("th", { scope: "col", style, class: classOf(place), "aria-sort": "none" }, title));
});

function classOf(place) {
  return [place ? "number" : "", columns[place].hide || ""].join(" ").trim();
}

function sortBy(place) {
  sorting.up = sorting.column === place ? !sorting.up : true;
  sorting.column = place;
  arrange();
}

const passes = {
  all: () => true,
  fell: (row) => row.gain < 0,
  guarded: (row) => row.guard > 0,
  flagged: isFlagged,
  failed: (row) => row.failed,
};

function arrange() {
  const { key } = columns[sorting.column];
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (row) => wanted.every((word) => `${row.name} ${row.error || ""}`.toLowerCase().includes(word));
  shown = rows.filter((row) => passes[show](row) && matches(row));
  const known = (row) => key(row) !== null && key(row) !== undefined;
  const order = (a, b) => (typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : a - b);
  shown.sort((a, b) => {
    if (!known(a) || !known(b)) return known(b) - known(a);
    return order(key(a), key(b)) * (sorting.up ? 1 : -1);
  });
  [...find("head").children].forEach((cell, place) => {
    cell.setAttribute("aria-sort", place !== sorting.column ? "none" : sorting.up ? "ascending" : "descending");
  });
  chosen = 0;
  grid.scrollTop = 0;
  find("count").textContent = shown.length === rows.length ? `${rows.length} listed` : `${shown.length} of ${rows.length}`;
  find("none").hidden = shown.length > 0;
  grid.classList.toggle("short", shown.length < 12);
  draw();
}

function draw() {
  const height = rowHeight();
  const first = Math.max(0, Math.floor(grid.scrollTop / height) - 10);
  const past = Math.min(shown.length, Math.ceil((grid.scrollTop + (grid.clientHeight || 600)) / height) + 10);
  const space = (count) => make("tr", { class: "space", "aria-hidden": "true" }, make("td", { style: `height: ${count * height}px` }));
  const drawn = [];
  if (first) drawn.push(space(first));
  for (let place = first; place < past; place += 1) drawn.push(drawRow(place));
  if (past < shown.length) drawn.push(space(shown.length - past));
  body.replaceChildren(...drawn);
}

function drawRow(place) {
  const row = shown[place];
  const cell = (column, at) => make("td", { class: classOf(at), title: at ? null : row.name }, ...column.draw(row));
  const cells = row.error ? [cell(columns[0], 0), why(row)] : columns.map(cell);
  const attributes = { class: place === chosen ? "chosen" : null, "aria-selected": place === chosen ? "true" : null, "data-place": place };
  return make("tr", attributes, ...cells);
}

/** In place of figures that there are none of, over all columns that there is room for. */
function why(row) {
  const room = [...find("head").children].filter((cell) => cell.offsetWidth).length - 1;
  const text = row.error.split(`${row.name}: `).pop();
  return make("td", { colspan: room, class: row.failed ? "bad" : "marked", title: row.error, text });
}

function choose(place) {
  if (!shown.length) return;
  chosen = Math.max(0, Math.min(shown.length - 1, place));
  const height = rowHeight();
  const top = chosen * height;
  const seen = grid.clientHeight - find("head").offsetHeight - height;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top > grid.scrollTop + seen) grid.scrollTop = top - seen;
  draw();
  if (opened !== null) open(shown[chosen]);
}

/* ---- the worst, as pictures ---- */

function drawWorst() {
  const scored = rows.filter((row) => row.gain !== null && row.gain !== undefined).sort((a, b) => a.gain - b.gain);
  const worst = scored.slice(0, 10);
  const fallen = worst.filter((row) => row.gain < 0).length;
  find("worst-section").hidden = !worst.length;
  const many = worst.length < scored.length ? `The ${worst.length} that gained least in OVRL` : "Least gain in OVRL first";
  const all = fallen === worst.length ? "all of them" : fallen;
  find("worst-title").textContent = fallen ? `${many}; ${all} fell` : many;
  find("worst").append(...worst.map(worstCard));
}

function worstCard(row) {
  const picture = row.picture
    ? make("img", { src: `${data.folder}/${row.picture}`, alt: "", loading: "lazy", onerror: (event) => event.target.replaceWith(make("span", { class: "blank", text: "no picture" })) })
    : make("span", { class: "blank", text: "no picture" });
  const figures = `${number(value(row, "before", "ovrl"), 2)} → ${number(value(row, "after", "ovrl"), 2)}  `;
  return make("button", { title: row.name, onclick: () => { locate(row); open(row); } },
    picture,
    make("span", { class: "name" }, pathOf(row.name)),
    make("span", { class: "figures", text: figures },
      make("span", { class: gainClass(row.gain), text: signed(row.gain, 2) }), " ",
      row.gain < 0 ? make("span", { class: "badge", text: "fell" }) : null));
}

function locate(row) {
  const place = shown.indexOf(row);
  if (place >= 0 && opened === null) choose(place);
  else if (place >= 0) { chosen = place; draw(); }
}

/* ---- one recording ---- */

const panel = find("panel");
let player = null;

function open(row) {
  if (player) player.stop();
  player = null;
  opened = row;
  find("panel-title").textContent = row.name;
  find("detail").replaceChildren(...detail(row));
  const wasHidden = panel.hidden;
  panel.hidden = false;
  panel.scrollTop = 0;
  if (wasHidden) panel.focus({ preventScroll: true });
}

function close() {
  if (player) player.stop();
  player = opened = null;
  panel.hidden = true;
  find("detail").replaceChildren();
  grid.focus({ preventScroll: true });
}

const takenFrom = { diffuse: "the sampler's", extract: "Extract's estimate alone", original: "the recording itself, not enhanced" };

function detail(row) {
  const parts = [];
  if (row.error) parts.push(make("p", { class: "error", text: row.error }));
  if (isFlagged(row)) parts.push(...row.flags.map((place) => make("p", { class: "flags" }, flagBadge(), ` ${data.texts[place]}`)));
  if (row.taken) parts.push(make("p", { class: "taken" }, make("span", { class: "faint", text: "result: " }), takenFrom[row.taken]));
  if (row.result) {
    player = makePlayer(row);
    parts.push(...picture(row, player), ...player.elements);
  } else {
    parts.push(make("p", {}, "Original: ", make("a", { href: row.original, text: decoded(row.original) })));
  }
  if (row.before) parts.push(...facts(row));
  return parts;
}

function picture(row, played) {
  if (!row.picture) {
    const text = make("p", { class: "nopicture" }, "No picture is drawn yet. ",
      make("code", { text: "exdiff report FOLDER --pictures all" }), " draws those of all recordings.");
    return [text, ...marksLegend(row)];
  }
  const view = make("div", { class: "view", onclick: (event) => {
    const box = view.getBoundingClientRect();
    played.seek((event.clientX - box.left) / box.width * row.seconds);
  } },
  make("img", { src: `${data.folder}/${row.picture}`, alt: `spectrograms of original and enhanced recording, up to ${row.top} kHz`, onerror: () => view.classList.add("lost") }),
  make("span", { class: "half" }),
  make("span", { class: "label", style: "top: 0.35rem", "data-which": "original", text: "original" }),
  make("span", { class: "label", style: "top: calc(50% + 0.45rem)", "data-which": "enhanced", text: "enhanced" }),
  make("span", { class: "hertz", style: "top: 0.2rem", text: `${row.top} kHz` }),
  make("span", { class: "hertz", style: "top: calc(50% + 0.3rem)", text: `${row.top} kHz` }),
  ...row.marks.map(([start, end]) => make("span", { class: "mark", style: `left: ${start / row.seconds * 100}%; width: ${(end - start) / row.seconds * 100}%` })),
  make("span", { class: "head", style: "left: 0" }));
  played.watch(view);
  const times = make("div", { class: "times" }, ...[0, 0.25, 0.5, 0.75, 1].map((share) => make("span", { text: lasting(row.seconds * share) })));
  return [view, times, ...marksLegend(row)];
}

function marksLegend(row) {
  if (!row.marks || !row.marks.length) return [];
  const reasons = [...new Set(row.marks.map((mark) => data.texts[mark[2]]))].join(", ");
  return [make("p", { class: "legend" }, make("i"), ` where the guard did not trust the sampler: ${reasons}`)];
}

function facts(row) {
  const settings = data.settings[row.settings];
  const list = (title, texts) => (texts.length ? [make("h3", { text: title }), make("ul", {}, ...texts.map((text) => make("li", { text })))] : []);
  return [
    make("h3", { text: "Measures" }), measuresTable(row),
    ...list("Where the guard did not trust the sampler", marks(row)),
    ...list("Changes", row.changes.map((place) => data.texts[place])),
    ...list("Notes", row.notes.map((place) => data.texts[place])),
    make("h3", { text: "Files" }), files(row),
    make("h3", { text: "Settings and work" }), definitions({ ...flat(settings), ...works(row) }),
  ];
}

function measuresTable(row) {
  const head = make("tr", {}, ...["", "original", "enhanced", "change"].map((text) => make("th", { scope: "col", text })));
  const lines = data.measures.flatMap((measure, place) => {
    const [before, after] = [row.before[place], row.after[place]];
    if (before === null && after === null) return [];
    const change = before === null || after === null ? null : after - before;
    const title = measure.unit ? `${measure.title}, ${measure.unit}` : measure.title;
    const tone = measure.name === "ovrl" && change !== null ? gainClass(change) : "";
    return [make("tr", {}, make("th", { scope: "row", text: title }), make("td", { text: number(before, measure.digits) }),
      make("td", { text: number(after, measure.digits) }), make("td", { class: tone, text: change === null ? none : signed(change, measure.digits) }))];
  });
  const uncertain = row.uncertainty === null ? [] : [make("tr", {}, make("th", { scope: "row", text: "uncertainty, dB" }), make("td"), make("td", { text: number(row.uncertainty, 1) }), make("td"))];
  return make("table", { class: "facts" }, make("thead", {}, head), make("tbody", {}, ...lines, ...uncertain));
}

function marks(row) {
  const said = row.marks.map(([start, end, reason, decibels, ...channels]) =>
    `${start.toFixed(2)} to ${end.toFixed(2)} s, channel ${channels.map((channel) => channel + 1).join(" and ")}: ${data.texts[reason]}, by ${number(decibels, 1)} dB`);
  return row.marked > row.marks.length ? [...said, `and ${row.marked - row.marks.length} more, see the quality report`] : said;
}

function files(row) {
  const entry = (link, format, hash) => [make("a", { href: link, text: decoded(link) }), make("div", { text: format }), make("div", { class: "hash faint", text: `SHA-256 ${hash}` })];
  const [before, after] = row.formats.map((place) => data.texts[place]);
  return make("dl", { class: "small" },
    make("dt", { text: "original" }), make("dd", {}, ...entry(row.original, before, row.hashes[0])),
    make("dt", { text: "enhanced" }), make("dd", {}, ...entry(row.result, after, row.hashes[1])),
    make("dt", { text: "report" }), make("dd", {}, make("a", { href: `${row.result}.quality.json`, text: decoded(`${row.result}.quality.json`) })));
}

function decoded(link) {
  try { return decodeURIComponent(link); } catch { return link; }
}

function flat(values, above = "") {
  return Object.assign({}, ...Object.entries(values).map(([name, found]) =>
    found !== null && typeof found === "object" && !Array.isArray(found) ? flat(found, `${above}${name}.`) : { [above + name]: found === null ? none : String(found) }));
}

function works(row) {
  const stages = Object.entries(row.stages).map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)} s`).join(", ");
  return { work: stages };
}

function definitions(values) {
  return make("dl", { class: "small" }, ...Object.entries(values).flatMap(([name, text]) => [make("dt", { text: name }), make("dd", { text })]));
}

/* ---- both players run together, one of them muted, so that switching loses nothing ---- */

const kinds = { wav: "audio/wav", wave: "audio/wav", flac: "audio/flac", mp3: "audio/mpeg", ogg: "audio/ogg", oga: "audio/ogg", opus: "audio/ogg; codecs=opus",
  m4a: "audio/mp4", m4b: "audio/mp4", mp4: "video/mp4", aac: "audio/aac", webm: "audio/webm" };
const DRIFT = 0.04;
const PATIENCE_MS = 1500;

function makePlayer(row) {
  const sounds = { original: make("audio", { src: row.original, preload: "metadata" }), enhanced: make("audio", { src: row.result, preload: "metadata" }) };
  const trouble = { original: false, enhanced: false };
  const views = [];
  let heard = "enhanced";
  let running = false;
  let jumps = 0;
  const complaint = make("p", { class: "unplayable", role: "status", hidden: true });
  const play = make("button", { id: "play", text: "▶ play", title: "Space", onclick: () => api.toggle() });
  const seek = make("input", { type: "range", min: 0, max: row.seconds || 1, step: 0.01, value: 0, "aria-label": "Position", oninput: () => api.seek(Number(seek.value)) });
  const time = make("span", { class: "clock" });
  const choices = ["original", "enhanced"].map((which) => make("button", { text: which, title: "x switches", "data-which": which, onclick: () => api.hear(which) }));
  const playable = () => Object.keys(sounds).filter((which) => !trouble[which]);
  const leading = () => sounds[trouble[heard] ? other() : heard];
  const other = () => (heard === "enhanced" ? "original" : "enhanced");

  function show() {
    const at = leading().currentTime;
    play.textContent = running ? "❚❚ pause" : "▶ play";
    if (document.activeElement !== seek || running) seek.value = at;
    time.textContent = `${clock(at)} / ${clock(row.seconds || leading().duration || 0)}`;
    for (const button of choices) button.setAttribute("aria-pressed", String(button.dataset.which === heard));
    for (const view of views) {
      view.querySelector(".head").style.left = `${at / row.seconds * 100}%`;
      for (const label of view.querySelectorAll("[data-which]")) label.classList.toggle("heard", label.dataset.which === heard);
    }
  }
  function tick() {
    show();
    if (running) requestAnimationFrame(tick);
  }
  function complain() {
    const failing = Object.keys(trouble).filter((which) => trouble[which]);
    complaint.hidden = !failing.length;
    complaint.textContent = failing.length ? `This browser cannot play the ${failing.join(" and the ")} recording: it does not know the format (${failing.map(formatOf).join(", ")}), or the file is no longer there. Open it in another player from the links below.` : "";
  }
  function formatOf(which) {
    return row.formats ? data.texts[row.formats[which === "original" ? 0 : 1]].split(",")[0] : "unknown";
  }
  function begin() {
    running = playable().length > 0;
    for (const which of playable()) {
      sounds[which].play().catch(() => { if (sounds[which].error) { trouble[which] = true; complain(); } });
    }
    tick();
  }
  function halt() {
    for (const sound of Object.values(sounds)) sound.pause();
  }
  /** Both stand still until both are there: one that goes on meanwhile would be ahead. */
  async function jump(at) {
    jumps += 1;
    const mine = jumps;
    halt();
    await Promise.all(playable().map((which) => arrived(sounds[which], at)));
    if (mine !== jumps) return;
    if (running) begin();
    show();
  }
  function arrived(sound, at) {
    if (sound.readyState === 0) return null;
    return new Promise((resolve) => {
      sound.addEventListener("seeked", resolve, { once: true });
      setTimeout(resolve, PATIENCE_MS);
      sound.currentTime = at;
    });
  }
  const apart = () => Math.abs(sounds.original.currentTime - sounds.enhanced.currentTime) > DRIFT;

  for (const [which, sound] of Object.entries(sounds)) {
    const suffix = decoded(sound.getAttribute("src")).split(".").pop().toLowerCase();
    sound.muted = which !== heard;
    sound.addEventListener("error", () => { trouble[which] = true; complain(); });
    sound.addEventListener("ended", () => { running = false; halt(); show(); });
    for (const event of ["pause", "seeked", "loadedmetadata"]) sound.addEventListener(event, show);
    if (kinds[suffix] && !sound.canPlayType(kinds[suffix])) trouble[which] = true;
  }
  const api = {
    elements: [make("div", { class: "player" }, play, make("div", { class: "which", role: "group", "aria-label": "Listen to" }, ...choices), seek, time), complaint, sounds.original, sounds.enhanced],
    toggle() {
      if (running) { running = false; halt(); show(); } else begin();
    },
    hear(which) {
      const at = leading().currentTime;
      heard = which;
      for (const [name, sound] of Object.entries(sounds)) sound.muted = name !== heard;
      if (apart() && playable().length === 2) jump(at);
      show();
    },
    switch() { api.hear(other()); },
    seek(to) { jump(Math.max(0, Math.min(row.seconds || Infinity, to))); },
    skip(by) { api.seek(leading().currentTime + by); },
    stop() {
      running = false;
      jumps += 1;
      for (const sound of Object.values(sounds)) { sound.pause(); sound.removeAttribute("src"); sound.load(); }
    },
    watch(view) { views.push(view); show(); },
  };
  complain();
  show();
  return api;
}

/* ---- keys and clicks ---- */

const keys = {
  j: () => choose(chosen + 1), ArrowDown: () => choose(chosen + 1),
  k: () => choose(chosen - 1), ArrowUp: () => choose(chosen - 1),
  Home: () => choose(0), End: () => choose(shown.length - 1),
  PageDown: () => choose(chosen + 15), PageUp: () => choose(chosen - 15),
  Enter: () => shown.length && open(shown[chosen]),
  Escape: () => opened !== null && close(),
  " ": () => { if (opened === null && shown.length) open(shown[chosen]); if (player) player.toggle(); },
  x: () => player && player.switch(),
  ArrowLeft: () => player && player.skip(-2), ArrowRight: () => player && player.skip(2),
  "/": () => find("filter").focus(),
};
const pressed = (target) => target.closest("button, a, select");
const scrolls = ["ArrowDown", "ArrowUp", "Home", "End", "PageDown", "PageUp"];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  const inText = event.target.id === "filter";
  if (inText && !["Escape", "Enter", "ArrowDown"].includes(event.key)) return;
  if (inText) {
    event.preventDefault();
    if (event.key === "Escape" && find("filter").value) { find("filter").value = filter = ""; arrange(); } else { grid.focus(); choose(chosen); }
    return;
  }
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  if ([" ", "Enter"].includes(event.key) && pressed(event.target)) return;
  // Outside the table and the panel the page scrolls as any page does.
  if (scrolls.includes(event.key) && event.target !== grid && opened === null && event.target !== document.body) return;
  if (["ArrowLeft", "ArrowRight"].includes(event.key) && !player) return;
  event.preventDefault();
  keys[event.key]();
});

body.addEventListener("click", (event) => {
  const line = event.target.closest("tr[data-place]");
  if (!line || String(getSelection())) return;
  chosen = Number(line.dataset.place);
  draw();
  open(shown[chosen]);
});
grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
addEventListener("resize", draw);
find("filter").addEventListener("input", (event) => { filter = event.target.value; arrange(); });
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    show = button.dataset.show;
    for (const each of document.querySelectorAll("[data-show]")) each.setAttribute("aria-pressed", String(each === button));
    arrange();
  });
}
for (const [id, act] of [["close", close], ["next", () => choose(chosen + 1)], ["previous", () => choose(chosen - 1)]]) find(id).addEventListener("click", act);

drawWorst();
arrange();
})();
