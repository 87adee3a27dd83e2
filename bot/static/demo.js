/* The demonstration's page: three phones whose providers are stand-ins, and the web chat itself as the fourth.

   write, press ──POST──> our server ──signed webhook──> the gateway ──> outbox ──> stand-in ──GET──> the screen */

import { element } from "./bubbles.js";
import { openPanel } from "./panel.js";

const POLL_MS = 800;
const headers = { Authorization: `Bearer ${document.body.dataset.token}`, "Content-Type": "application/json" };
const by = (id) => document.getElementById(id);
const NAMES = { sms: "SMS", whatsapp: "WhatsApp", telegram: "Telegram", web: "Web chat" };
const TICKS = { queued: "on its way", accepted: "on its way", sent: "✓ sent", delivered: "✓✓ delivered", read: "✓✓ read", failed: "not delivered" };

/* What somebody might write: a question, a disclosure, and the word that stops everything. */
const EXAMPLES = {
  en: ["what are my rights at work?", "my boss keeps my passport and i cannot leave", "STOP"],
  fr: ["quels sont mes droits au travail ?", "mon patron garde mon passeport et je ne peux pas partir", "ARRET"],
  es: ["¿cuáles son mis derechos en el trabajo?", "mi jefe me quitó el pasaporte y no me deja salir", "STOP"],
  pt: ["quais são os meus direitos no trabalho?", "meu patrão ficou com meu passaporte e não posso sair", "STOP"],
  tl: ["ano ang mga karapatan ko sa trabaho?", "kinuha ng amo ko ang pasaporte ko at hindi ako makaalis", "STOP"],
  pa: ["ਕੰਮ 'ਤੇ ਮੇਰੇ ਕੀ ਹੱਕ ਹਨ?", "ਮੇਰੇ ਮਾਲਕ ਨੇ ਮੇਰਾ ਪਾਸਪੋਰਟ ਰੱਖ ਲਿਆ ਹੈ ਅਤੇ ਮੈਂ ਜਾ ਨਹੀਂ ਸਕਦਾ", "STOP"],
  ar: ["ما هي حقوقي في العمل؟", "صاحب العمل أخذ جواز سفري ولا أستطيع المغادرة", "STOP"],
  "zh-Hans": ["我在工作中有什么权利？", "老板拿走了我的护照，我不能离开", "STOP"],
};

const config = JSON.parse(by("chat").textContent);
const shown = { sms: new Map(), whatsapp: new Map(), telegram: new Map() };  // id → bubble
const read = new Set();
let phone = "sms";

// ── a phone ─────────────────────────────────────────────────────────────────

function bubble(channel, from, text) {
  const made = element("div", `message ${from}`);
  made.append(element("p", "hidden", from === "me" ? "You" : "Passerelle"));
  const words = made.appendChild(element("p", "text", text));
  words.dir = "auto";
  made.append(element("p", "ticks", ""));
  const log = by(channel).querySelector(".log");
  log.append(made);
  log.scrollTop = log.scrollHeight;
  return made;
}

function tick(made, text) {
  const ticks = made.querySelector(".ticks");
  if (ticks.textContent !== text) ticks.textContent = text;
}

async function act(channel, what, text) {
  const made = text ? bubble(channel, "me", text) : null;
  if (made) tick(made, "on its way");
  let taken = false;
  try {
    const answer = await fetch(`/demo/phones/${channel}`, { method: "POST", headers, body: JSON.stringify(what) });
    taken = answer.ok;
  } catch { /* said below */ }
  if (made) tick(made, taken ? "✓✓ stored" : "not taken: is Passerelle running?");
  made?.classList.toggle("failed", !taken);
  return taken;
}

function showButtons(channel, made, message) {
  if (!message.buttons.length) return;
  const buttons = message.buttons.map((button) => {
    const key = element("button", "", button.label);
    key.type = "button";
    if (button.note) key.append(element("small", "", button.note));
    key.addEventListener("click", () => act(channel, { choice: button.id, label: button.label, message: message.id }, button.label));
    return key;
  });
  if (!message.list) return made.lastChild.before(wrap("div", "buttons", buttons));
  const list = wrap("details", "buttons", [element("summary", "", `${message.list} ${buttons.length} choices`), ...buttons]);
  made.lastChild.before(list);
}

function wrap(name, className, children) {
  const made = element(name, className);
  made.append(...children);
  return made;
}

function show(channel, messages) {
  for (const message of messages) {
    let made = shown[channel].get(message.id);
    if (!made) {
      made = bubble(channel, "them", message.text);
      showButtons(channel, made, message);
      shown[channel].set(message.id, made);
      const log = by(channel).querySelector(".log");
      log.scrollTop = log.scrollHeight;
    }
    tick(made, TICKS[channel === "whatsapp" && read.has(message.id) ? "read" : message.state] ?? message.state);
  }
  if (channel === "whatsapp") markRead(messages);
}

/* Only WhatsApp tells us that a message was read, and only when it is on the screen. */
async function markRead(messages) {
  const fresh = messages.filter((message) => message.state === "delivered" && !read.has(message.id)).map((message) => message.id);
  if (!fresh.length || document.hidden || !by("whatsapp").offsetParent) return;
  for (const id of fresh) read.add(id);
  if (!await act("whatsapp", { read: fresh })) for (const id of fresh) read.delete(id);
}

async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/demo/phones", { headers });
      if (answer.ok) for (const [channel, messages] of Object.entries(await answer.json())) show(channel, messages);
      say(answer.ok ? "" : answer.status === 401 ? "These phones are gone. Load the page again." : "The stand-ins do not answer.");
    } catch {
      say("Passerelle does not answer. Is it running?");
    }
  }
  setTimeout(look, POLL_MS);
}

function say(text) {
  const told = by("told");
  told.classList.toggle("hidden", !text);
  if (told.textContent !== text) told.textContent = text;
}

// ── the web chat ────────────────────────────────────────────────────────────

async function openWeb() {
  const root = by("site").attachShadow({ mode: "open" });
  await openPanel(root, "", config);
  const fill = new CSSStyleSheet();
  fill.replaceSync("#panel { height: 100%; }");
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, fill];
}

function writeInWeb(text) {
  const root = by("site").shadowRoot, field = root?.getElementById("text");
  if (!field) return;
  field.value = text;
  root.getElementById("composer").requestSubmit();
}

function turnWebTo(tag) {
  const menu = by("site").shadowRoot?.getElementById("language");
  if (!menu || menu.value === tag) return;
  menu.value = tag;
  menu.dispatchEvent(new Event("change"));
}

// ── the page ────────────────────────────────────────────────────────────────

function choose(channel) {
  phone = channel;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", String(button.dataset.phone === channel));
  for (const section of document.querySelectorAll(".phone")) section.toggleAttribute("data-chosen", section.id === channel);
  by("examples").setAttribute("aria-label", `Examples: written by ${NAMES[channel]}`);
}

function write(channel, text) {
  if (channel === "web") writeInWeb(text);
  else if (text.trim()) act(channel, { text }, text);
}

function showExamples(tag) {
  by("examples").replaceChildren(...EXAMPLES[tag].map((text) => {
    const button = element("button", "", text);
    Object.assign(button, { type: "button", lang: tag, dir: "auto" });
    button.addEventListener("click", () => write(phone, text));
    return button;
  }));
}

function prepare(section) {
  section.addEventListener("focusin", () => { if (getComputedStyle(document.querySelector("nav")).display === "none") choose(section.id); });
  const form = section.querySelector("form"), field = section.querySelector("textarea");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    write(section.id, field.value);
    field.value = "";
  });
  field?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

function start() {
  const menu = by("tongue");
  for (const { tag, name } of config.languages) {
    if (EXAMPLES[tag]) menu.append(Object.assign(new Option(name, tag), { lang: tag }));
  }
  menu.value = EXAMPLES[config.language] ? config.language : "en";
  showExamples(menu.value);
  menu.addEventListener("change", () => { showExamples(menu.value); turnWebTo(menu.value); });
  for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => choose(button.dataset.phone));
  document.querySelectorAll(".phone").forEach(prepare);
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  openWeb();
  look();
}

start();
