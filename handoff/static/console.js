/* What every console page shares: the server's events, whether they reach us, times, and the way out. */

const RETRY_MS = 4000;
const CHECK_MS = 30000;

export const by = (id) => document.getElementById(id);

// ── the line ────────────────────────────────────────────────────────────────

export function showConnection(name) {
  const shown = by("connection"), banner = by("lost");
  if (!shown || shown.classList.contains(name)) return;
  shown.className = `connection ${name}`;
  shown.textContent = shown.dataset[name];
  banner.hidden = name !== "lost";
  banner.textContent = name === "lost" ? banner.dataset.text : "";
}

/* The page as a document; null when it could not be had. A finished login leads to the log-in page. */
export async function load(url, options) {
  try {
    const answer = await fetch(url, { credentials: "same-origin", ...options });
    if (answer.status === 401 || new URL(answer.url).pathname === "/console/login") {
      location.assign("/console/login");
      return null;
    }
    const text = answer.status === 204 ? "" : await answer.text();
    return { status: answer.status, ok: answer.ok, page: new DOMParser().parseFromString(text, "text/html") };
  } catch {
    showConnection("lost");
    return null;
  }
}

/* Events only say that something changed; `refresh` reads what. It is called after each (re)connection
   and from time to time as well, so that a lost event costs half a minute and not a person. */
export function listen(refresh, handlers) {
  let source;
  const open = () => {
    source = new EventSource("/console/events");
    source.onopen = () => { showConnection("live"); refresh(); };
    source.onerror = () => {
      showConnection("lost");
      if (source.readyState === EventSource.CLOSED) setTimeout(open, RETRY_MS * (1 + Math.random()));
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(event.data ? JSON.parse(event.data) : {}));
    }
  };
  showConnection("connecting");
  open();
  setInterval(refresh, CHECK_MS);
  addEventListener("offline", () => showConnection("lost"));
  addEventListener("online", () => { source.close(); open(); });
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
}

/* One refresh at a time, and one more if something happened meanwhile. */
export function oneAtATime(work) {
  let running = false, again = false;
  return async () => {
    again = running;
    if (running) return;
    running = true;
    do {
      again = false;
      await work();
    } while (again);
    running = false;
  };
}

// ── times ───────────────────────────────────────────────────────────────────

const units = document.body.dataset.units.split("|");
const two = (number) => String(number).padStart(2, "0");

function duration(seconds) {
  const [d, h, min, s] = units;
  if (seconds < 60) return `${seconds} ${s}`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} ${min} ${two(seconds % 60)} ${s}`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} ${h} ${two(Math.floor(seconds % 3600 / 60))} ${min}`;
  return `${Math.floor(seconds / 86400)} ${d} ${Math.floor(seconds % 86400 / 3600)} ${h}`;
}

function tick() {
  for (const item of document.querySelectorAll("[data-waiting]")) {
    item.dataset.since ??= Date.now() - Number(item.dataset.waiting) * 1000;
    const text = duration(Math.max(0, Math.floor((Date.now() - Number(item.dataset.since)) / 1000)));
    if (item.textContent !== text) item.textContent = text;
  }
}

/* Times in the reader's own zone; the day only where it is not today, or where the page is a log of many days. */
export function localTimes(root = document) {
  const language = document.documentElement.lang;
  for (const item of root.querySelectorAll("time.clock:not([data-local])")) {
    const when = new Date(item.dateTime);
    if (isNaN(when)) continue;
    const today = when.toDateString() === new Date().toDateString();
    const day = "dated" in item.dataset ? { day: "numeric", month: "short", year: "numeric" } : today ? {} : { day: "numeric", month: "short" };
    item.textContent = when.toLocaleString(language, { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    item.title = when.toLocaleString(language);
    item.dataset.local = "";
  }
}

/* Drafts hold words meant for a person: they do not outlive the login. */
function forgetDraftsAtLogout() {
  document.querySelector("form.logout")?.addEventListener("submit", () => sessionStorage.clear());
}

/* A second press of an impatient hand must not become a second post. */
function guardForms() {
  addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    setTimeout(() => event.target.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
  });
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

tick();
setInterval(tick, 1000);
localTimes();
forgetDraftsAtLogout();
guardForms();
