"use strict";
// What both forms of a listening test share. Each form defines `form`: shown(trial, answer), read(), fault(trial, answer),
// key(event) and the names of its clips.
const test = JSON.parse(document.getElementById("test").textContent);
const at = (id) => document.getElementById(id);

// --- answers, which outlive a reload ---------------------------------------------------------------------------------
const store = {
  name: `exdiff-listening-${test.test}`,
  read() {
    for (const read of [() => localStorage.getItem(this.name), () => this.ofWindow()]) {
      try {
        const found = read();
        if (found) return JSON.parse(found);
      } catch { /* a browser may forbid storage to a page from a file */ }
    }
    return null;
  },
  write(state) {
    const text = JSON.stringify(state);
    try {
      localStorage.setItem(this.name, text);
    } catch {
      window.name = `${this.name}=${text}`; // stays with the tab
    }
  },
  ofWindow() {
    return window.name.startsWith(`${this.name}=`) ? window.name.slice(this.name.length + 1) : null;
  },
};
const blank = () => ({ listener: "", place: 0, begun: false, finished: null, answers: {}, heard: {} });
let state = { ...blank(), ...store.read() };
const trial = () => test.trials[state.place];
const heard = () => (state.heard[trial().trial] ??= []);

// --- sound: all clips of a trial run together, and one of them is heard ----------------------------------------------
const player = {
  context: null, buffers: [], sources: [], gains: [], chosen: 0, playing: false, began: 0, offset: 0, loading: 0,
  async load(clips) {
    this.stop();
    this.buffers = [];
    this.offset = 0;
    const turn = ++this.loading;
    this.context ??= new AudioContext();
    const decoded = await Promise.all(clips.map((clip) => this.context.decodeAudioData(bytes(clip))));
    if (turn === this.loading) this.buffers = decoded;
  },
  start() {
    if (this.playing || !this.buffers.length) return;
    this.context.resume();
    this.began = this.context.currentTime + 0.02;
    this.gains = this.buffers.map(() => new GainNode(this.context, { gain: 0 }));
    this.sources = this.buffers.map((buffer, number) => {
      const source = new AudioBufferSourceNode(this.context, { buffer, loop: true });
      source.connect(this.gains[number]).connect(this.context.destination);
      source.start(this.began, this.offset);
      return source;
    });
    this.playing = true;
    this.choose(this.chosen);
  },
  stop() {
    if (!this.playing) return;
    this.offset = this.position();
    this.sources.forEach((source) => source.stop());
    this.playing = false;
  },
  choose(number) {
    this.chosen = number;
    if (this.playing) this.gains.forEach((gain, each) => {
      gain.gain.setTargetAtTime(each === number ? 1 : 0, this.context.currentTime, 0.004); // at once, but without a click
    });
  },
  position() {
    if (!this.playing) return this.offset;
    return (this.offset + Math.max(0, this.context.currentTime - this.began)) % this.buffers[0].duration;
  },
};
const bytes = (uri) => Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0)).buffer;

function listen(number) {
  if (!player.buffers.length) return;
  player.choose(number);
  player.start();
  if (!heard().includes(number)) heard().push(number);
  keep();
  showSound();
}

function toggle() {
  if (player.playing) player.stop();
  else if (player.buffers.length) return listen(player.chosen);
  showSound();
}

function showSound() {
  document.querySelectorAll(".version").forEach((button) => {
    const number = Number(button.dataset.clip);
    button.setAttribute("aria-pressed", player.playing && player.chosen === number);
    button.querySelector(".heard").textContent =
      player.playing && player.chosen === number ? "playing" : heard().includes(number) ? "heard" : "";
  });
  at("play").textContent = player.playing ? "Stop" : "Play";
  at("playing").textContent = player.playing ? `Playing ${form.names[player.chosen]}` : "Stopped";
}

function showPlace() {
  if (player.buffers.length) at("place").style.width = `${(100 * player.position()) / player.buffers[0].duration}%`;
  requestAnimationFrame(showPlace);
}

// --- the way through -------------------------------------------------------------------------------------------------
function show(section) {
  for (const name of ["intro", "trial", "end"]) at(name).hidden = name !== section;
  window.scrollTo(0, 0);
  at(`${section}-title`).focus();
}

function showIntro() {
  player.stop();
  at("listener").value = state.listener;
  const count = Object.values(state.answers).filter((answer) => answer.complete).length;
  at("kept").textContent = state.begun ? `${count} of ${test.trials.length} are answered; it goes on where you were.` : "";
  at("begin").textContent = state.begun ? "Go on" : "Begin";
  show("intro");
}

async function showTrial() {
  const total = test.trials.length, answer = state.answers[trial().trial];
  at("trial-title").textContent = `Excerpt ${state.place + 1} of ${total}`;
  at("progress").max = total;
  at("progress").value = state.place + 1;
  at("comment").value = answer?.comment ?? "";
  at("back").disabled = state.place === 0;
  at("next").textContent = state.place + 1 < total ? "Next" : "Finish";
  hint("");
  player.chosen = form.first;
  form.shown(answer);
  show("trial");
  try {
    await player.load(trial().clips);
  } catch {
    hint("This browser cannot play the sound (Ogg Opus); use a current Chrome, Edge, Firefox, or Safari from 18.4 on.");
  }
  showSound();
}

function hint(text) {
  at("hint").textContent = text;
}

function keep() {
  if (state.begun && !at("trial").hidden) {
    const answer = { ...form.read(), comment: at("comment").value.trim() };
    state.answers[trial().trial] = { ...answer, complete: !fault(answer) };
  }
  store.write(state);
}

function fault(answer) {
  if (trial().clips.some((_, number) => !heard().includes(number))) return form.unheard;
  return form.fault(answer);
}

function next() {
  keep();
  const wrong = fault(state.answers[trial().trial]);
  if (wrong) return hint(wrong);
  if (state.place + 1 < test.trials.length) return go(state.place + 1);
  const open = test.trials.findIndex((each) => !state.answers[each.trial]?.complete);
  if (open >= 0) return go(open);
  finish();
}

function go(place) {
  keep();
  state.place = place;
  store.write(state);
  showTrial();
}

function begin() {
  state.listener = at("listener").value.trim() || state.listener || `listener-${Math.random().toString(36).slice(2, 8)}`;
  state.begun = true;
  store.write(state);
  showTrial();
}

// --- the result ------------------------------------------------------------------------------------------------------
function finish() {
  player.stop();
  state.finished = new Date().toISOString();
  store.write(state);
  showEnd();
  download();
}

function result() {
  const answers = test.trials.map(({ trial }) => {
    const { complete, ...answer } = state.answers[trial];
    return { trial, ...answer };
  });
  const about = { message_type: "listening_result", version: 1, kind: test.kind, test: test.test };
  return JSON.stringify({ ...about, listener: state.listener, finished: state.finished, answers }, null, 2) + "\n";
}

function fileName() {
  return `listening-${test.test.slice(0, 6)}-${state.listener.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.json`;
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([result()], { type: "application/json" }));
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function showEnd() {
  at("file").textContent = fileName();
  at("result").value = result();
  at("copied").textContent = "";
  show("end");
}

async function copy() {
  at("result").select();
  try {
    await navigator.clipboard.writeText(at("result").value);
  } catch {
    document.execCommand("copy"); // a page from a file may have no clipboard
  }
  at("copied").textContent = "Copied.";
}

function anew() {
  if (!confirm("Begin anew for another listener? The answers on this page are forgotten; be sure that the file is saved.")) return;
  state = blank();
  store.write(state);
  showIntro();
}

// --- hands -----------------------------------------------------------------------------------------------------------
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || at("trial").hidden) return;
  const target = event.target;
  if (target.id === "comment") {
    if (event.key === "Escape") target.blur();
    return;
  }
  const isButton = target.tagName === "BUTTON", handled = form.key(event);
  if (handled) handled();
  else if (event.key === " " && !isButton) toggle();
  else if (event.key === "Enter" && !isButton) next();
  else if (event.key === "Backspace") { if (state.place) go(state.place - 1); }
  else return;
  event.preventDefault();
}

function started() {
  document.addEventListener("keydown", pressed);
  // What a mouse has clicked would take the keys that follow.
  document.addEventListener("click", (event) => {
    if (event.detail && event.target.closest("#trial button, #trial input[type=radio]")) document.activeElement.blur();
  });
  at("listener").addEventListener("keydown", (event) => { if (event.key === "Enter") begin(); });
  document.querySelectorAll(".version").forEach((button) => {
    button.addEventListener("click", () => listen(Number(button.dataset.clip)));
  });
  const clicks = { begin, play: toggle, next, copy, download, anew, return: () => go(0), back: () => go(state.place - 1) };
  for (const [id, act] of Object.entries(clicks)) at(id).addEventListener("click", () => act());
  at("comment").addEventListener("input", keep);
  requestAnimationFrame(showPlace);
  if (state.finished) showEnd();
  else showIntro();
}
