/* The quick exit: the page is blanked, the session ended at the server, and the browser sent to a harmless page. */

import { hangUp } from "./line.js";

const SHIFTS_MS = 1500;

/* Blank first, so that nothing below can delay it. replace(): Back does not lead here again.
   `take()` gives {token, messages}: the session to end, and what the server has not acknowledged. */
export function leave({ server, exitUrl, take }) {
  document.body.replaceChildren();
  document.title = "";
  const { token, messages } = take();
  if (token) sayGoodbye(`${server}/chat/end`, token, messages);
  hangUp();
  location.replace(exitUrl);
}

/* What the server has not acknowledged goes along: the words may still be in a socket that dies with the page. */
function sayGoodbye(where, token, messages) {
  if (!navigator.sendBeacon(where, JSON.stringify({ token, messages }))) navigator.sendBeacon(where, JSON.stringify({ token }));
}

/* Shift three times, with no other key between: capitals while typing must not close the page. */
export function watchShift(act) {
  let presses = [];
  addEventListener("keydown", (event) => {
    if (event.repeat) return;
    if (event.key !== "Shift") { presses = []; return; }
    presses = [...presses.filter((time) => event.timeStamp - time < SHIFTS_MS), event.timeStamp];
    if (presses.length >= 3) act();
  }, true);
}
