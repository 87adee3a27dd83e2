/* The page of numbers: printing, and the quick exit, which ends the chat that this tab still has. */

import { leave, watchShift } from "./exit.js";

const KEY = "passerelle";

function takeToken() {
  const token = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  return token;
}

function exit(event) {
  event?.preventDefault();
  leave({ server: "", exitUrl: document.body.dataset.exit, take: () => ({ token: takeToken(), messages: [] }) });
}

const button = document.getElementById("print");
button.hidden = false;
button.addEventListener("click", () => print());
document.getElementById("exit").addEventListener("click", exit);
watchShift(exit);
