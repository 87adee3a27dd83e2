/* Our own page: the conversation over the whole window. Only the token is kept, in sessionStorage, so that a
   reload finds the conversation; it goes at the exit. */

import { start } from "./conversation.js";

const KEY = "passerelle";
const { exit, longest } = document.body.dataset;

addEventListener("pageshow", (event) => event.persisted && location.reload());

start({
  root: document,
  whole: document.documentElement,
  scroller: document.scrollingElement,
  server: "",
  exitUrl: exit,
  longest: Number(longest),
  texts: JSON.parse(document.getElementById("texts").textContent),
  language: document.documentElement.lang,
  store: {
    read: () => sessionStorage.getItem(KEY),
    keep: (token) => sessionStorage.setItem(KEY, token),
    forget: () => sessionStorage.removeItem(KEY),
  },
  languageChanged: (language, texts) => {
    document.title = texts["chat.title"];
    document.getElementById("numbers").href = `/chat/numbers?lang=${encodeURIComponent(language)}`;
    history.replaceState(null, "", `/chat?lang=${encodeURIComponent(language)}`);
  },
});
