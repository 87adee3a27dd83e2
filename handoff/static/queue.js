/* The queue: follows the server's events, keeps the place of whoever is reading, rings for the critical. */

import { by, listen, load, localTimes, oneAtATime, showConnection } from "./console.js";

const AGAIN_MS = 30000;
const queue = by("queue");
let current = null;                 // the handoff that j and k have reached
let known = new Set(criticalIds());
let audio = null;
let rung = 0;

// ── the list ────────────────────────────────────────────────────────────────

function criticalIds() {
  return [...queue.querySelectorAll("#waiting [data-severity=critical]")].map((row) => row.dataset.handoff);
}

const rows = () => [...queue.querySelectorAll("[data-handoff]")];
const rowOf = (node) => node?.closest?.("[data-handoff]");
const find = (id) => rows().find((row) => row.dataset.handoff === id);

/* Which handoff, which of its controls, and how far down: enough to find the place again. */
function place() {
  const row = rowOf(document.activeElement);
  if (!row || !queue.contains(row)) return null;
  return { id: row.dataset.handoff, key: document.activeElement.dataset.key, index: rows().indexOf(row) };
}

function restore(was) {
  if (!was) return;
  const row = find(was.id);
  const target = row?.querySelector(`[data-key="${was.key}"]`) ?? row ?? rows()[Math.min(was.index, rows().length - 1)] ?? by("waiting-title");
  target.focus({ preventScroll: true });
}

/* The server counts whole seconds: a clock that started here goes on, so that none jumps back. */
function keepClocks(page) {
  for (const old of queue.querySelectorAll("[data-since]")) {
    const fresh = page.getElementById(rowOf(old).id)?.querySelector("[data-waiting]");
    if (!fresh) continue;
    fresh.dataset.since = old.dataset.since;
    fresh.textContent = old.textContent;
  }
}

const refresh = oneAtATime(async () => {
  const answer = await load("/console/queue");
  if (!answer?.ok) return answer && showConnection("lost");
  const was = place();
  keepClocks(answer.page);
  queue.replaceChildren(...answer.page.body.childNodes);
  restore(was);
  localTimes(queue);
  announce();
});

function announce() {
  const waiting = queue.querySelectorAll("#waiting > li").length;
  document.title = document.title.replace(/^(\(\d+\) )?/, waiting ? `(${waiting}) ` : "");
  const now = criticalIds();
  const fresh = now.filter((id) => !known.has(id));
  known = new Set(now);
  if (!fresh.length) return;
  const names = fresh.map((id) => find(id).querySelector(".language").textContent);
  by("alarm").textContent = `${queue.dataset.critical}: ${names.join(", ")}`;
  ring();
}

// ── the sound ───────────────────────────────────────────────────────────────

const soundOn = () => localStorage.getItem("sound") !== "off";
const canSound = () => audio?.state === "running";

function ring() {
  if (!soundOn() || !canSound()) return;
  rung = Date.now();
  for (const [at, pitch] of [[0, 880], [0.22, 660], [0.44, 880]]) note(audio.currentTime + at, pitch);
}

function note(at, pitch) {
  const tone = audio.createOscillator(), volume = audio.createGain();
  tone.frequency.value = pitch;
  volume.gain.setValueAtTime(0, at);
  volume.gain.linearRampToValueAtTime(0.25, at + 0.02);
  volume.gain.linearRampToValueAtTime(0, at + 0.2);
  tone.connect(volume).connect(audio.destination);
  tone.start(at);
  tone.stop(at + 0.22);
}

/* The tick means that it will be heard. Until the browser allows that, there is a button to press instead. */
function showSound() {
  const silent = soundOn() && !canSound(), allow = by("allow-sound"), toggle = by("sound");
  const focused = [allow, toggle].includes(document.activeElement);
  allow.hidden = !silent;
  toggle.hidden = silent;
  toggle.setAttribute("aria-pressed", String(soundOn()));
  if (focused) (silent ? allow : toggle).focus();
}

/* Browsers allow sound only after the reader has done something on the page; without asking they may at once
   where they know the page, and they may take it back. */
async function allowSound() {
  if (!soundOn() || canSound()) return;
  try {
    if (!audio) {
      audio = new AudioContext();
      audio.addEventListener("statechange", showSound);
    }
    await audio.resume();
  } catch { /* no sound here: the button stays, and nobody is told that it will ring */ }
  showSound();
}

function prepareSound() {
  by("allow-sound").addEventListener("click", () => allowSound().then(ring));
  by("sound").addEventListener("click", () => {
    localStorage.setItem("sound", soundOn() ? "off" : "on");
    showSound();
    allowSound().then(ring);
  });
  // Anything done elsewhere on the page allows it too; the buttons see to themselves.
  for (const name of ["pointerdown", "pointerup", "keydown"]) {
    addEventListener(name, (event) => event.target.closest?.("#allow-sound, #sound") || allowSound());
  }
  showSound();
  allowSound();
  setInterval(() => known.size && Date.now() - rung >= AGAIN_MS && ring(), 1000);
}

// ── the keyboard ────────────────────────────────────────────────────────────

function move(step) {
  const all = rows();
  const at = all.indexOf(rowOf(document.activeElement) ?? find(current));
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step))];
  if (!next) return;
  current = next.dataset.handoff;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

const press = (key) => rowOf(document.activeElement)?.querySelector(`[data-key="${key}"]`)?.click();
const actions = { j: () => move(1), k: () => move(-1), a: () => press("accept"), o: () => press("open"), "?": () => by("help").showModal() };

function prepareKeys() {
  const on = by("keys-on");
  on.checked = localStorage.getItem("keys") !== "off";
  on.addEventListener("change", () => localStorage.setItem("keys", on.checked ? "on" : "off"));
  by("shortcuts").hidden = false;
  by("shortcuts").addEventListener("click", () => by("help").showModal());
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !on.checked || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
}

prepareSound();
prepareKeys();
listen(refresh, { queue: refresh, conversation: refresh });
