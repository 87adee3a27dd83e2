/* One conversation: new messages as they come, a draft that survives, a send that never loses words. */

import { by, listen, load, localTimes, oneAtATime } from "./console.js";
import { tellTyping } from "./typing.js";
import { openFiles } from "./files.js";

const log = by("messages"), reply = by("reply"), field = by("text"), error = by("error"), newer = by("newer");
const id = log.dataset.conversation;
const path = `/console/conversations/${encodeURIComponent(id)}`;
const draftKey = `draft:${id}`;
/* Closing posts a form; its own answer leads on, and the event it causes must not reload the page first. */
let leaving = false;
addEventListener("submit", (event) => { if (event.target.id === "close") leaving = true; });
const UNSETTLED = new Set(["queued", "sending", "sent", "unknown", "failed"]);
const RECENT = 20;
const title = document.title;
let unseen = 0;
let changed = Infinity;   // the lowest number that an event has named

// ── messages ────────────────────────────────────────────────────────────────

const number = (item) => Number(item.dataset.seq);
const last = () => number(log.lastElementChild ?? { dataset: { seq: 0 } });

/* On narrow screens the page scrolls, on wide ones the list does. */
const scrolls = () => getComputedStyle(log).overflowY === "auto";

function nearEnd() {
  if (scrolls()) return log.scrollHeight - log.scrollTop - log.clientHeight < 120;
  return log.getBoundingClientRect().bottom < innerHeight + 120;
}

function toEnd() {
  if (scrolls()) log.scrollTop = log.scrollHeight;
  else document.querySelector(".reply").scrollIntoView({ block: "end" });
  newer.hidden = true;
}

/* Older messages whose state may still change are asked for again together with the new ones. */
function askFrom() {
  const open = [...log.children].slice(-RECENT).filter((item) => UNSETTLED.has(item.dataset.state)).map(number);
  return Math.max(0, Math.min(last(), changed - 1, ...open.map((seq) => seq - 1)));
}

function merge(items) {
  const follow = nearEnd();
  let fresh = 0;
  for (const item of items) {
    const old = by(item.id);
    if (old) update(old, item);
    else {
      fresh += item.dataset.from === "person_writing";
      log.insertBefore(item, [...log.children].find((other) => number(other) > number(item)) ?? null);
    }
  }
  localTimes(log);
  if (follow) toEnd();
  else if (fresh) newer.hidden = false;
  notice(fresh);
}

/* Only the state of a message changes, and with it why it did not arrive. A replaced element would be read aloud again. */
function update(old, item) {
  if (old.dataset.state === item.dataset.state) return;
  old.dataset.state = item.dataset.state;
  old.querySelector(".state")?.replaceWith(item.querySelector(".state") ?? "");
  old.querySelector(".undelivered")?.remove();
  const reason = item.querySelector(".undelivered");
  if (reason) old.append(reason);
}

/* What the advocate has seen is what was on a visible page: that number goes with each send. */
function notice(fresh) {
  unseen = document.hidden ? unseen + fresh : 0;
  document.title = unseen ? `(${unseen}) ${log.dataset.title} – ${title}` : title;
  if (reply && !document.hidden) reply.elements.version.value = last();
}

const refresh = oneAtATime(async () => {
  const from = askFrom();
  changed = Infinity;
  const answer = await load(`${path}/messages?after=${from}`);
  if (!answer?.ok) return;
  merge([...answer.page.querySelectorAll("[data-seq]")]);
  showLeft(answer.page);
});

/* The person took the exit: the field says so before anything is written in vain, and keeps what is in it. */
function showLeft(page) {
  const note = page.querySelector(".left"), place = by("left"), follow = nearEnd();
  if (note && !place.childElementCount) {
    place.replaceChildren(note);
    localTimes(place);
    if (follow) toEnd();
  }
  if (!reply || !place.childElementCount) return;
  field.readOnly = true;
  reply.querySelector("button").disabled = true;
}

/* A verdict is kept without leaving the page: reloading it would lose the place and read the whole log again. */
async function giveVerdict(event) {
  const teach = event.target.closest(".teach"), chosen = event.submitter;
  if (!teach || !chosen) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  body.set(chosen.name, chosen.value);
  const answer = await load(event.target.action, { method: "POST", body });
  const summary = teach.querySelector("summary");
  summary.textContent = answer?.ok ? chosen.dataset.kept : teach.dataset.failed;
  by("kept").textContent = summary.textContent;
  if (!answer?.ok) return;
  summary.focus();
  teach.open = false;
}

function onConversation(event) {
  if (String(event.conversation) !== id) return;
  changed = Math.min(changed, event.seq ?? Infinity);
  refresh();
}

/* Somebody else accepted or closed it: the forms on this page are no longer true. */
function onQueue(event) {
  const known = document.querySelector("[data-handoff]")?.dataset;
  if (known && String(event.handoff) === known.handoff && event.state !== known.state && !leaving) location.reload();
}

// ── the reply ───────────────────────────────────────────────────────────────

function showError(text) {
  error.textContent = text;
  error.hidden = !text;
}

function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-4$3-a$4-");
}

/* The server answers with the conversation's page, or with 204. Either way the field is emptied only when
   it says yes; a refusal (somebody else, or messages not seen) shows what came and keeps the words. */
async function send(event) {
  event.preventDefault();
  const button = reply.querySelector("button");
  if (button.disabled || !field.value.trim()) return;
  button.disabled = true;
  const answer = await load(reply.action, { method: "POST", body: new URLSearchParams(new FormData(reply)) });
  button.disabled = false;
  if (!answer) return showError(error.dataset.offline);
  merge([...answer.page.querySelectorAll("#messages [data-seq]")]);
  showLeft(answer.page);
  if (answer.ok) sent();
  else showError(answer.page.getElementById("error")?.textContent.trim() || error.dataset.offline);
  field.focus();
  refresh();
}

function sent() {
  showError("");
  field.value = "";
  sessionStorage.removeItem(draftKey);
  reply.elements.client_id.value = newId();
  toEnd();
}

function prepareReply() {
  tellTyping(field, path, reply.elements.csrf.value);
  field.value ||= sessionStorage.getItem(draftKey) ?? "";
  reply.elements.client_id.value ||= newId();
  field.addEventListener("input", () => sessionStorage.setItem(draftKey, field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    reply.requestSubmit();
  });
  reply.addEventListener("submit", send);
  by("close")?.addEventListener("submit", () => sessionStorage.removeItem(draftKey));
}

if (reply) prepareReply();
log.addEventListener("submit", giveVerdict);
openFiles(log);
newer.addEventListener("click", toEnd);
addEventListener("scroll", () => { if (nearEnd()) newer.hidden = true; }, true);
document.addEventListener("visibilitychange", () => document.hidden || notice(0));
toEnd();
listen(refresh, { conversation: onConversation, queue: onQueue });
