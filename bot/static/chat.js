/* The web chat. One conversation over a WebSocket, or over HTTP where sockets are blocked.

   enter ──> outgoing (client_id → frame, bubble) ──> socket or POST ──> ack: the bubble gets its number
   server ──> message (seq) ──> shown once, in order of seq; `after` is the last one seen
   lost  ──> wait with jitter ──> hello {token, after} ──> what was missed, and outgoing again with the same ids

   Only the token is kept, in sessionStorage, so that a reload finds the conversation; it goes at the exit. */

const KEY = "passerelle";
const WELCOME_MS = 8000;
const ACK_MS = 10000;
const LONGEST_WAIT_MS = 30000;
const SHIFTS_MS = 1500;

const by = (id) => document.getElementById(id);
const log = by("log"), choices = by("choices"), field = by("text"), state = by("state"), error = by("error");
const exitUrl = document.body.dataset.exit;
const longest = Number(document.body.dataset.longest);  // characters the server takes in one message

let texts = JSON.parse(by("texts").textContent);
let language = document.documentElement.lang;
let token = sessionStorage.getItem(KEY);
let after = 0;             // the last number the server has shown us
let replayUntil = 0;       // numbers up to here are history, not news
let seenSent = 0;
let link = null;           // {send(frame), close()} while the server has welcomed us
let opening = null;        // the socket or request under way
let refusals = 0;          // sockets in a row that never got a welcome
let tries = 0;
let timer = 0;
let human = false, called = false;  // an advocate is here; one is awaited
let languageDue = false;   // chosen in the menu, and not told to the server yet
let over = false;          // left, or ended: no more reconnecting

const bySeq = new Map();
const outgoing = new Map();
const noticed = new Set(by("notice").hidden ? [] : [language]);  // languages whose draft notice was shown

// ── words ───────────────────────────────────────────────────────────────────

const say = (key) => texts[key] ?? "";

function relabel() {
  for (const item of document.querySelectorAll("[data-text]")) item.textContent = texts[item.dataset.text] ?? item.textContent;
  for (const item of document.querySelectorAll("[data-label]")) item.setAttribute("aria-label", say(item.dataset.label));
  field.placeholder = say("chat.placeholder");
  document.title = say("chat.title");
  showState();
}

async function changeLanguage(tag) {
  try {
    const answer = await fetch(`/chat/texts/${encodeURIComponent(tag)}.json`);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    texts = found.texts;
    language = found.language;
    document.documentElement.lang = found.language;
    document.documentElement.dir = found.direction;
    relabel();
    showNotice(found.notice);
  } catch {
    by("language").value = language;
    return showError("chat.offline");
  }
  clearError();
  history.replaceState(null, "", `/chat?lang=${encodeURIComponent(language)}`);
  languageDue = true;
  tellLanguage();
}

/* The demonstration's remark on drafted texts, above the page. Below the first messages it would be out of
   sight: then the first drafted message in the language brings it as well. */
function showNotice(text) {
  const notice = by("notice");
  notice.textContent = text;
  notice.hidden = !text;
  if (text && !log.childElementCount) noticed.add(language);
}

/* Only what the person chose in the menu is told; the page's own language is no choice. */
function tellLanguage() {
  if (!link || !languageDue) return;
  languageDue = false;
  link.send({ type: "language", language });
}

function showError(key) {
  error.textContent = texts[key] ?? say("chat.not_sent");
}

/* Nothing is wrong any more, unless what stands in the field is still too long. */
function clearError() {
  const remains = field.getAttribute("aria-invalid") === "true" ? say("chat.too_long") : "";
  if (error.textContent !== remains) error.textContent = remains;  // the same again would be read out again
}

function showState() {
  const present = human ? "chat.human_here" : called ? "chat.human_called" : "";
  const key = link ? present : over ? "" : tries ? "chat.offline" : "chat.connecting";
  if (state.textContent !== say(key)) state.textContent = say(key);
  state.classList.toggle("human", Boolean(link) && human);
}

// ── bubbles ─────────────────────────────────────────────────────────────────

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const FROM = { you: "chat.you", assistant: "chat.assistant", person: "chat.person" };

function bubble(from, text, tongue) {
  const made = element("div", `message ${FROM[from] ? from : "service"}`);
  if (FROM[from]) {
    const who = made.appendChild(element("p", "who", say(FROM[from])));
    who.dataset.text = FROM[from];
  }
  const words = made.appendChild(element("p", "text", text));
  words.dir = "auto";
  if (tongue) words.lang = tongue;
  return made;
}

function stamp(made, time) {
  const when = new Date(time);
  if (!time || isNaN(when)) return;
  const shown = made.appendChild(element("time", "when", when.toLocaleTimeString(language, { hour: "numeric", minute: "2-digit" })));
  shown.dateTime = time;
}

/* Unnumbered bubbles (not acknowledged yet) stay at the end. Moving a bubble that is in its
   place already would make a screen reader say it again. */
function place(made) {
  const number = (node) => Number(node.dataset.seq ?? Infinity);
  const next = [...log.children].find((node) => node !== made && number(node) > number(made)) ?? null;
  if (made.parentNode !== log || made.nextElementSibling !== next) log.insertBefore(made, next);
}

function numbered(made, seq) {
  made.dataset.seq = seq;
  bySeq.set(seq, made);
  place(made);
}

const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

/* Whoever reads the newest stays with it, whatever grows: a message, choices, the keyboard, "not sent".
   Whoever has scrolled up is left in peace. */
function followEnd() {
  let following = true;
  addEventListener("scroll", () => { following = innerHeight + scrollY > document.documentElement.scrollHeight - 80; });
  const sizes = new ResizeObserver(() => following && toEnd());
  for (const part of [log, choices, document.querySelector("footer")]) sizes.observe(part);
}

function showMessage(message) {
  if (message.seq > after) after = message.seq;
  const waiting = message.client_id && outgoing.get(message.client_id);
  if (waiting) settle(message.client_id, message.seq);
  log.setAttribute("aria-busy", String(after < replayUntil));
  if (!bySeq.has(message.seq)) {
    const made = bubble(message.from, message.text, message.language);
    if (message.notice) addNotice(made, message);
    stamp(made, message.time);
    numbered(made, message.seq);
  }
  if (message.seq === after) showChoices(message);
  reportSeen();
}

/* Once a language: a person who writes another one than the page's is answered in it. */
function addNotice(made, message) {
  if (noticed.has(message.language)) return;
  noticed.add(message.language);
  const notice = made.appendChild(element("p", "notice", message.notice));
  notice.dir = "auto";
  notice.lang = message.language;
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
  if (document.hidden || after <= seenSent || !link) return;
  seenSent = after;
  link.send({ type: "seen", seq: after });
}

function forgetConversation() {
  after = seenSent = replayUntil = 0;
  human = called = false;
  bySeq.clear();
  for (const node of [...log.children]) if (node.dataset.seq) node.remove();
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
  const made = bubble("you", text);
  made.classList.add("pending");
  made.append(element("p", "sending"));
  outgoing.set(id, { frame, made, timer: 0 });
  place(made);
  clearError();
  if (choices.contains(document.activeElement) && matchMedia("(hover: hover)").matches) field.focus();
  choices.replaceChildren();
  toEnd();
  if (over) restart();
  else if (link) dispatch(id);
  else markUnsent();
}

/* No acknowledgement in time means a dead line that nobody has told us about: open a new one,
   which sends everything unacknowledged again. The server knows the ids and keeps one of each. */
function dispatch(id) {
  const waiting = outgoing.get(id);
  if (!waiting || !link) return;
  waiting.made.classList.remove("failed");
  waiting.made.querySelector(".sending")?.replaceChildren();
  clearTimeout(waiting.timer);
  waiting.timer = setTimeout(() => outgoing.has(id) && lost(), ACK_MS);
  link.send(waiting.frame);
}

function settle(id, seq) {
  const waiting = outgoing.get(id);
  if (!waiting) return;
  clearTimeout(waiting.timer);
  outgoing.delete(id);
  waiting.made.classList.remove("pending", "failed");
  waiting.made.querySelector(".sending")?.remove();
  if (bySeq.has(seq)) return waiting.made.remove();
  numbered(waiting.made, seq);
  stamp(waiting.made, new Date().toISOString());
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
  if (link) for (const id of outgoing.keys()) dispatch(id);
  else reconnectNow();
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

// ── the line ────────────────────────────────────────────────────────────────

const hello = () => ({ type: "hello", token, after, language });

function receive(frame) {
  if (frame.type === "message") showMessage(frame);
  else if (frame.type === "ack") settle(frame.client_id, frame.seq);
  else if (frame.type === "state") { [human, called] = [Boolean(frame.human), Boolean(frame.waiting)]; showState(); }
  else if (frame.type === "error") refuse(frame.client_id, frame.key);
  else if (frame.type === "ping") link?.send({ type: "pong" });
  else if (frame.type === "ended") ended();
}

function welcomed(frame, line) {
  if (token && token !== frame.token) forgetConversation();
  token = frame.token;
  sessionStorage.setItem(KEY, token);
  replayUntil = frame.seq;
  log.setAttribute("aria-busy", String(after < replayUntil));
  link = line;
  tries = 0;
  clearError();
  showState();
  tellLanguage();
  for (const id of outgoing.keys()) dispatch(id);
}

function connect() {
  clearTimeout(timer);
  if (over || opening || link) return;
  showState();
  if (refusals < 2) openSocket();
  else openHttp();
}

function openSocket() {
  const socket = new WebSocket(new URL("/chat/ws", location.href.replace(/^http/, "ws")));
  const line = {
    send: (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame)),
    close: () => { socket.onclose = null; socket.onmessage = null; socket.close(); },
  };
  const gone = () => { if (opening === line) refusals += 1; if (opening === line || link === line) lost(); };
  const impatience = setTimeout(gone, WELCOME_MS);
  opening = line;
  socket.onopen = () => line.send(hello());
  socket.onclose = () => { clearTimeout(impatience); gone(); };
  socket.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type !== "welcome") return receive(frame);
    clearTimeout(impatience);
    opening = null;
    refusals = 0;
    welcomed(frame, line);
  };
}

function lost() {
  link?.close();
  opening?.close();
  link = opening = null;
  if (over) return;
  tries += 1;
  markUnsent();
  showState();
  const longest = Math.min(LONGEST_WAIT_MS, 500 * 2 ** tries);
  clearTimeout(timer);
  timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
}

function reconnectNow() {
  if (link || opening || over) return;
  connect();
}

// ── the same over HTTP ──────────────────────────────────────────────────────

async function ask(method, path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  if (!answer.ok && ![400, 413, 429].includes(answer.status)) throw new Error(answer.status);
  return answer.json();
}

async function openHttp() {
  const stop = new AbortController();
  let before = Promise.resolve();  // one post after the other: requests side by side would lose the order
  const line = {
    close: () => stop.abort(),
    send: (frame) => { before = before.then(() => post(frame, line, stop.signal)); },
  };
  opening = line;
  try {
    const frame = await ask("POST", "/chat/session", hello(), stop.signal);
    if (opening !== line) return;
    opening = null;
    welcomed(frame, line);
    while (link === line) await poll(line, stop.signal);
  } catch {
    if (opening !== line && link !== line) return;
    refusals = 1;  // the network may have been down: one more try with a socket
    lost();
  }
}

async function poll(line, signal) {
  const news = await ask("GET", `/chat/messages?after=${after}`, undefined, signal);
  if (link !== line) return;
  for (const message of news.messages ?? []) showMessage(message);
  if (news.state) receive({ ...news.state, type: "state" });
  if (news.ended) ended();
}

async function post(frame, line, signal) {
  if (link !== line) return;
  try {
    if (frame.type === "language") await ask("POST", "/chat/session", { ...hello(), chosen: true }, signal);
    if (frame.type !== "message") return;
    const answer = await ask("POST", "/chat/messages", frame, signal);
    receive(answer.key ? { client_id: frame.client_id, ...answer, type: "error" } : { ...answer, type: "ack" });
  } catch {
    if (link === line) lost();
  }
}

// ── the end ─────────────────────────────────────────────────────────────────

/* Ended elsewhere (another tab, or the service): nothing of it stays on the screen. The next
   message begins a new conversation. */
function ended() {
  over = true;
  lost();
  token = null;
  sessionStorage.removeItem(KEY);
  forgetConversation();
  showState();
}

function restart() {
  over = false;
  tries = refusals = 0;
  connect();
}

/* Blank first, so that nothing below can delay it. replace(): Back does not lead here again. */
function leave() {
  document.body.replaceChildren();
  document.title = "";
  over = true;
  const mine = token;
  token = null;
  sessionStorage.removeItem(KEY);
  if (mine) sayGoodbye(mine);
  link?.close();
  opening?.close();
  location.replace(exitUrl);
}

/* What the server has not acknowledged goes along: the words may still be in a socket that dies with the page. */
function sayGoodbye(mine) {
  const messages = [...outgoing.values()].map(({ frame }) => frame);
  const whole = JSON.stringify({ token: mine, messages });
  if (!navigator.sendBeacon("/chat/end", whole)) navigator.sendBeacon("/chat/end", JSON.stringify({ token: mine }));
}

/* Shift three times, with no other key between: capitals while typing must not close the page. */
function watchShift() {
  let presses = [];
  addEventListener("keydown", (event) => {
    if (event.repeat) return;
    if (event.key !== "Shift") { presses = []; return; }
    presses = [...presses.filter((time) => event.timeStamp - time < SHIFTS_MS), event.timeStamp];
    if (presses.length >= 3) leave();
  }, true);
}

// ── the page ────────────────────────────────────────────────────────────────

function grow() {
  field.style.height = "auto";  // set by script on the element: the policy allows it
  field.style.height = `${field.scrollHeight + 2}px`;
}

/* As the server counts: an emoji is one character, not two. */
const tooLong = (text) => text.length > longest && [...text].length > longest;

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

function start() {
  watchShift();
  followEnd();
  by("exit").addEventListener("click", leave);
  by("composer").addEventListener("submit", submit);
  by("language").addEventListener("change", (event) => changeLanguage(event.target.value));
  field.addEventListener("input", edited);
  field.addEventListener("keydown", (event) => {
    // An input method confirms its word with Enter (Korean, Chinese): that is not "send".
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) submit(event);
  });
  addEventListener("online", reconnectNow);
  addEventListener("offline", () => link && lost());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { reconnectNow(); reportSeen(); } });
  connect();
}

start();
