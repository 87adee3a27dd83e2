/* The line to the server: one WebSocket, or HTTP where sockets are blocked. It knows frames and no page.

   open ──> hello {token, after} ──> welcome: the line is up
   lost ──> wait with jitter ──> hello again: what was missed comes, and what was not acknowledged goes once more

   `owner` is the conversation: hello(), token(), after(); welcomed(frame), receive(frame), changed(), down(). */

const WELCOME_MS = 8000;
const LONGEST_WAIT_MS = 30000;

let base = "";             // the server's origin; empty: the page's own
let owner = null;
let link = null;           // {send(frame), close()} while the server has welcomed us
let opening = null;        // the socket or request under way
let refusals = 0;          // sockets in a row that never got a welcome
let tries = 0;
let timer = 0;
let over = false;          // left, or ended: no more reconnecting

export const isUp = () => Boolean(link);
export const isOver = () => over;
export const isRetrying = () => tries > 0;
export const tell = (frame) => link?.send(frame);

export function open(server, conversation) {
  [base, owner] = [server, conversation];
  addEventListener("online", reconnectNow);
  addEventListener("offline", () => link && lost());
  connect();
}

function welcomed(frame, line) {
  link = line;
  tries = 0;
  owner.welcomed(frame);
}

function connect() {
  clearTimeout(timer);
  if (over || opening || link) return;
  owner.changed();
  if (refusals < 2) openSocket();
  else openHttp();
}

function openSocket() {
  const socket = new WebSocket(new URL(`${base}/chat/ws`, location.href).href.replace(/^http/, "ws"));
  const line = {
    send: (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame)),
    close: () => { socket.onclose = null; socket.onmessage = null; socket.close(); },
  };
  const gone = () => { if (opening === line) refusals += 1; if (opening === line || link === line) lost(); };
  const impatience = setTimeout(gone, WELCOME_MS);
  opening = line;
  socket.onopen = () => line.send(owner.hello());
  socket.onclose = () => { clearTimeout(impatience); gone(); };
  socket.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type !== "welcome") return received(frame);
    clearTimeout(impatience);
    opening = null;
    refusals = 0;
    welcomed(frame, line);
  };
}

function received(frame) {
  if (frame.type === "ping") tell({ type: "pong" });
  else owner.receive(frame);
}

export function lost() {
  link?.close();
  opening?.close();
  link = opening = null;
  if (over) return;
  tries += 1;
  owner.down();
  const longest = Math.min(LONGEST_WAIT_MS, 500 * 2 ** tries);
  clearTimeout(timer);
  timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
}

export function reconnectNow() {
  if (link || opening || over) return;
  connect();
}

/* For good: nothing comes or goes any more, until somebody writes again. */
export function hangUp() {
  over = true;
  lost();
}

export function restart() {
  over = false;
  tries = refusals = 0;
  connect();
}

// ── the same over HTTP ──────────────────────────────────────────────────────

async function ask(method, path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (owner.token()) headers.Authorization = `Bearer ${owner.token()}`;
  const answer = await fetch(base + path, { method, headers, signal, body: body && JSON.stringify(body), credentials: "omit" });
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
    const frame = await ask("POST", "/chat/session", owner.hello(), stop.signal);
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
  const news = await ask("GET", `/chat/messages?after=${owner.after()}`, undefined, signal);
  if (link !== line) return;
  for (const message of news.messages ?? []) owner.receive({ ...message, type: "message" });
  if (news.state) owner.receive({ ...news.state, type: "state" });
  if (news.ended) owner.receive({ type: "ended" });
}

async function post(frame, line, signal) {
  if (link !== line) return;
  try {
    if (frame.type === "language") await ask("POST", "/chat/session", { ...owner.hello(), chosen: true }, signal);
    if (frame.type !== "message") return;
    const answer = await ask("POST", "/chat/messages", frame, signal);
    owner.receive(answer.key ? { client_id: frame.client_id, ...answer, type: "error" } : { ...answer, type: "ack" });
  } catch {
    if (link === line) lost();
  }
}
