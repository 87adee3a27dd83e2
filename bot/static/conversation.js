/* The conversation, wherever it is shown: in our own page, or in a panel on somebody else's. One a page.

   enter ──> outgoing (client_id → frame, bubble) ──> the line ──> ack: the bubble gets its number
   server ──> message (seq) ──> shown once, in order of seq; `after` is the last one seen
   lost  ──> hello {token, after} ──> what was missed, and outgoing again with the same ids

   `place` says where: root (document or shadow root), whole (the element that has the language), scroller, server
   (origin; empty: our own), exitUrl, longest, texts, language, store {read, keep, forget} of the token,
   languageChanged(language). */

import * as bubbles from "./bubbles.js";
import { leave, watchShift } from "./exit.js";
import * as line from "./line.js";

const ACK_MS = 10000;
const TYPING_MS = 6000;
const AWAY_MS = 5 * 60000;

let place, texts, language, token;
let log, choices, field, state, error;
let after = 0;             // the last number the server has shown us
let replayUntil = 0;       // numbers up to here are history, not news
let seenSent = 0;
let human = false, called = false, ahead = null;  // an advocate is here; one is awaited, by so many others first
let typing = 0;            // timer while an advocate writes
let chosen = false;        // the language was chosen in the menu
let languageDue = false;   // and not told to the server yet
let lastHere = Date.now();

const outgoing = new Map();
const by = (id) => place.root.getElementById(id);
const { element } = bubbles;

// ── words ───────────────────────────────────────────────────────────────────

const say = (key) => texts[key] ?? "";

function relabel() {
  for (const item of place.root.querySelectorAll("[data-text]")) item.textContent = texts[item.dataset.text] ?? item.textContent;
  for (const item of place.root.querySelectorAll("[data-label]")) item.setAttribute("aria-label", say(item.dataset.label));
  field.placeholder = say("chat.placeholder");
  showState();
}

async function changeLanguage(tag) {
  try {
    const answer = await fetch(`${place.server}/chat/texts/${encodeURIComponent(tag)}.json`, { credentials: "omit" });
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    texts = found.texts;
    language = found.language;
    place.whole.lang = found.language;
    place.whole.dir = found.direction;
    relabel();
    showNotice(found.notice);
  } catch {
    by("language").value = language;
    return showError("chat.offline");
  }
  clearError();
  place.languageChanged(language, texts);
  chosen = languageDue = true;
  tellLanguage();
}

/* The demonstration's remark on drafted texts, above the page. Below the first messages it would be out of
   sight: then the first drafted message in the language brings it as well. */
function showNotice(text) {
  const notice = by("notice");
  notice.textContent = text;
  notice.hidden = !text;
  if (text && bubbles.isEmpty()) bubbles.wasNoticed(language);
}

/* Only what the person chose in the menu is told; the page's own language is no choice. */
function tellLanguage() {
  if (!line.isUp() || !languageDue) return;
  languageDue = false;
  line.tell({ type: "language", language });
}

function showError(key) {
  error.textContent = texts[key] ?? say("chat.not_sent");
}

/* Nothing is wrong any more, unless what stands in the field is still too long. */
function clearError() {
  const remains = field.getAttribute("aria-invalid") === "true" ? say("chat.too_long") : "";
  if (error.textContent !== remains) error.textContent = remains;  // the same again would be read out again
}

function presence() {
  if (human) return say(typing ? "chat.typing" : "chat.human_here");
  if (!called) return "";
  return ahead === null ? say("chat.human_called") : `${say("chat.human_called")} ${say("chat.place").replace("{count}", ahead)}`;
}

function showState() {
  const up = line.isUp();
  const text = up ? presence() : line.isOver() ? "" : say(line.isRetrying() ? "chat.offline" : "chat.connecting");
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("human", up && human);
}

function showPresence(frame) {
  [human, called, ahead] = [Boolean(frame.human), Boolean(frame.waiting), frame.ahead ?? null];
  showState();
}

function showTyping() {
  clearTimeout(typing);
  typing = setTimeout(notTyping, TYPING_MS);
  showState();
}

function notTyping() {
  clearTimeout(typing);
  typing = 0;
  showState();
}

// ── what comes ──────────────────────────────────────────────────────────────

function showMessage(message) {
  if (message.seq > after) after = message.seq;
  const waiting = message.client_id && outgoing.get(message.client_id);
  if (waiting) settle(message.client_id, message.seq);
  if (message.from === "person") notTyping();
  log.setAttribute("aria-busy", String(after < replayUntil));
  if (!bubbles.has(message.seq)) {
    const made = bubbles.bubble(message.from, message.text, message.language);
    bubbles.addNotice(made, message);
    bubbles.stamp(made, message.time, language);
    bubbles.numbered(made, message.seq);
  }
  if (message.seq === after) showChoices(message);
  reportSeen();
}

/* Choices belong to the newest message; a remark of the service leaves them where they are. */
function showChoices(message) {
  const offered = message.choices ?? [];
  if (message.from === "service" && !offered.length) return;
  if (message.from === "you" && choices.childElementCount === 0) return;
  choices.replaceChildren(...offered.map((choice) => {
    const chip = element("button", "", choice.label);
    chip.type = "button";
    chip.dataset.text = choice.id;
    chip.addEventListener("click", () => send(chip.textContent, choice.id));
    return chip;
  }));
}

function reportSeen() {
  if (document.hidden || after <= seenSent || !line.isUp()) return;
  seenSent = after;
  line.tell({ type: "seen", seq: after });
}

function forgetConversation() {
  after = seenSent = replayUntil = 0;
  human = called = false;
  ahead = null;
  bubbles.clear();
  choices.replaceChildren();
}

// ── sending ─────────────────────────────────────────────────────────────────

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();  // missing on plain http
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 15 | 64;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function send(text, choice) {
  if (!text.trim()) return;
  const id = uuid();
  const frame = { type: "message", client_id: id, text };
  if (choice) frame.choice = choice;
  if (chosen && !after) frame.language = language;  // the first answer is in it already
  const made = bubbles.bubble("you", text);
  made.classList.add("pending");
  made.append(element("p", "sending"));
  outgoing.set(id, { frame, made, timer: 0 });
  bubbles.put(made);
  clearError();
  showSafety(false);
  if (choices.contains(place.root.activeElement) && matchMedia("(hover: hover)").matches) field.focus();
  choices.replaceChildren();
  bubbles.toEnd();
  if (line.isOver()) line.restart();
  else if (line.isUp()) dispatch(id);
  else markUnsent();
}

/* No acknowledgement in time means a dead line that nobody has told us about: open a new one,
   which sends everything unacknowledged again. The server knows the ids and keeps one of each. */
function dispatch(id) {
  const waiting = outgoing.get(id);
  if (!waiting || !line.isUp()) return;
  waiting.made.classList.remove("failed");
  waiting.made.querySelector(".sending")?.replaceChildren();
  clearTimeout(waiting.timer);
  waiting.timer = setTimeout(() => outgoing.has(id) && line.lost(), ACK_MS);
  line.tell(waiting.frame);
}

function settle(id, seq) {
  const waiting = outgoing.get(id);
  if (!waiting) return;
  clearTimeout(waiting.timer);
  outgoing.delete(id);
  waiting.made.classList.remove("pending", "failed");
  waiting.made.querySelector(".sending")?.remove();
  if (bubbles.has(seq)) return waiting.made.remove();
  bubbles.numbered(waiting.made, seq);
  bubbles.stamp(waiting.made, new Date().toISOString(), language);
}

function markUnsent() {
  for (const [, { made, timer: running }] of outgoing) {
    clearTimeout(running);
    if (made.classList.contains("failed")) continue;
    made.classList.add("failed");
    const label = element("span", "", say("chat.not_sent"));
    const again = element("button", "", say("chat.retry"));
    label.dataset.text = "chat.not_sent";
    again.dataset.text = "chat.retry";
    again.type = "button";
    again.addEventListener("click", retry);
    made.querySelector(".sending").replaceChildren(label, again);
  }
}

function retry() {
  if (line.isUp()) for (const id of outgoing.keys()) dispatch(id);
  else line.reconnectNow();
}

/* What the server refuses goes back into the field, so that no word is lost. */
function refuse(id, key) {
  const waiting = outgoing.get(id);
  showError(key);
  if (!waiting) return;
  clearTimeout(waiting.timer);
  outgoing.delete(id);
  waiting.made.remove();
  field.value = [waiting.frame.text, field.value].filter(Boolean).join("\n");
  grow();
  field.focus();
}

// ── what the line tells ─────────────────────────────────────────────────────

function welcomed(frame) {
  if (token && token !== frame.token) forgetConversation();
  token = frame.token;
  place.store.keep(token);
  replayUntil = frame.seq;
  log.setAttribute("aria-busy", String(after < replayUntil));
  clearError();
  showState();
  tellLanguage();
  for (const id of outgoing.keys()) dispatch(id);
}

function receive(frame) {
  if (frame.type === "message") showMessage(frame);
  else if (frame.type === "ack") settle(frame.client_id, frame.seq);
  else if (frame.type === "state") showPresence(frame);
  else if (frame.type === "typing") showTyping();
  else if (frame.type === "error") refuse(frame.client_id, frame.key);
  else if (frame.type === "ended") ended();
}

/* Ended elsewhere (another tab, or the service): nothing of it stays on the screen. The next
   message begins a new conversation. */
function ended() {
  line.hangUp();
  takeToken();
  forgetConversation();
  showState();
}

function takeToken() {
  const mine = token;
  token = null;
  place.store.forget();
  return mine;
}

const exit = () => leave({
  server: place.server,
  exitUrl: place.exitUrl,
  take: () => ({ token: takeToken(), messages: [...outgoing.values()].map(({ frame }) => frame) }),
});

// ── the field ───────────────────────────────────────────────────────────────

function grow() {
  field.style.height = "auto";  // set by script on the element: the policy allows it
  field.style.height = `${field.scrollHeight + 2}px`;
}

/* As the server counts: an emoji is one character, not two. */
const tooLong = (text) => text.length > place.longest && [...text].length > place.longest;

/* The server would refuse it; it stays in the field, so that no word is lost. */
function refuseLength() {
  field.setAttribute("aria-invalid", "true");
  showError("chat.too_long");
  field.focus();
}

function edited() {
  grow();
  if (field.getAttribute("aria-invalid") !== "true" || tooLong(field.value.trimEnd())) return;
  field.removeAttribute("aria-invalid");
  clearError();
}

function submit(event) {
  event?.preventDefault();
  const text = field.value.trimEnd();
  if (tooLong(text)) return refuseLength();
  field.value = "";
  grow();
  send(text);
}

/* Whoever comes back after a while may not be alone any more. */
function remindOfSafety() {
  if (Date.now() - lastHere > AWAY_MS && !bubbles.isEmpty()) showSafety(true);
  lastHere = Date.now();
}

/* Empty it is no more than a place, but one that a screen reader watches already. */
function showSafety(wanted) {
  const safe = by("safe");
  if (wanted) safe.dataset.text = "chat.safe";
  else delete safe.dataset.text;
  if (safe.textContent !== (wanted ? say("chat.safe") : "")) safe.textContent = wanted ? say("chat.safe") : "";
}

export function start(where) {
  place = where;
  ({ texts, language } = place);
  [log, choices, field, state, error] = ["log", "choices", "text", "state", "error"].map(by);
  token = place.store.read();
  bubbles.prepare({ log, scroller: place.scroller, say }, [choices, place.root.querySelector("footer")]);
  if (!by("notice").hidden) bubbles.wasNoticed(language);
  watchShift(exit);
  by("exit").addEventListener("click", exit);
  by("composer").addEventListener("submit", submit);
  by("language").addEventListener("change", (event) => changeLanguage(event.target.value));
  field.addEventListener("input", edited);
  field.addEventListener("keydown", (event) => {
    // An input method confirms its word with Enter (Korean, Chinese): that is not "send".
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) submit(event);
  });
  place.root.addEventListener("focusin", remindOfSafety);
  place.root.addEventListener("input", remindOfSafety);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { remindOfSafety(); line.reconnectNow(); reportSeen(); } });
  line.open(place.server, {
    hello: () => ({ type: "hello", token, after, language }),
    token: () => token,
    after: () => after,
    welcomed,
    receive,
    changed: showState,
    down: () => { markUnsent(); showState(); },
  });
}
