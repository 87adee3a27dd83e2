/* What was said: bubbles in the order of their numbers, with who, when, and the remark on a draft. It knows no line.

   `log` holds them; `scroller` is what scrolls; `say(key)` gives a text of the page. */

const FROM = { you: "chat.you", assistant: "chat.assistant", person: "chat.person" };
const NEAR = 80;            // pixels from the end that still count as reading the newest

const bySeq = new Map();
const noticed = new Set();  // languages whose draft notice was shown
let log, scroller, say;

export function prepare(where, growing) {
  ({ log, scroller, say } = where);
  followEnd([log, ...growing]);
}

export const isEmpty = () => !log.childElementCount;
export const has = (seq) => bySeq.has(seq);
export const toEnd = () => scroller.scrollTo(0, scroller.scrollHeight);
export const wasNoticed = (language) => noticed.add(language);

export function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function bubble(from, text, tongue) {
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

export function stamp(made, time, language) {
  const when = new Date(time);
  if (!time || isNaN(when)) return;
  const shown = made.appendChild(element("time", "when", when.toLocaleTimeString(language, { hour: "numeric", minute: "2-digit" })));
  shown.dateTime = time;
}

/* Once a language: a person who writes another one than the page's is answered in it. */
export function addNotice(made, { notice, language }) {
  if (!notice || noticed.has(language)) return;
  noticed.add(language);
  const shown = made.appendChild(element("p", "notice", notice));
  shown.dir = "auto";
  shown.lang = language;
}

/* Unnumbered bubbles (not acknowledged yet) stay at the end. Moving a bubble that is in its
   place already would make a screen reader say it again. */
export function put(made) {
  const number = (node) => Number(node.dataset.seq ?? Infinity);
  const next = [...log.children].find((node) => node !== made && number(node) > number(made)) ?? null;
  if (made.parentNode !== log || made.nextElementSibling !== next) log.insertBefore(made, next);
}

export function numbered(made, seq) {
  made.dataset.seq = seq;
  bySeq.set(seq, made);
  put(made);
}

/* What the server has; what it has not acknowledged yet stays. */
export function clear() {
  for (const made of bySeq.values()) made.remove();
  bySeq.clear();
}

/* Whoever reads the newest stays with it, whatever grows: a message, choices, the keyboard, "not sent".
   Whoever has scrolled up is left in peace. */
function followEnd(growing) {
  let following = true;
  const page = scroller === document.scrollingElement;
  const height = () => (page ? innerHeight : scroller.clientHeight);
  (page ? window : scroller).addEventListener("scroll", () => { following = height() + scroller.scrollTop > scroller.scrollHeight - NEAR; });
  const sizes = new ResizeObserver(() => following && toEnd());
  for (const part of growing) sizes.observe(part);
}
