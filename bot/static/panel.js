/* The conversation in a shadow root: on somebody else's page, or on the demonstration's. The same elements as
   our page's template; made one by one, because a strict page allows no markup from a string. */

import { start } from "./conversation.js";

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...children);
  return made;
}

/* The style sheets of our page; as objects they need no `style-src` of the host's policy. A host may have any
   size of text at its root, so that sizes are told in pixels there. */
async function style(root, server, names) {
  const loaded = await Promise.all(names.map(async (name) => {
    const answer = await fetch(`${server}/chat/static/${name}.css`, { credentials: "omit" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync((await answer.text()).replace(/([\d.]+)rem\b/g, (_, size) => `${size * 16}px`));
    return sheet;
  }));
  root.adoptedStyleSheets = [...loaded, ...root.adoptedStyleSheets];
}

/* `found` is what /chat/widget.json answers; `close`: called by the button that folds the panel up, if there is one. */
export async function openPanel(root, server, found, { close } = {}) {
  const { texts } = found;
  const said = (key) => ({ "data-text": key });
  const folding = close ? [make("button", { type: "button", id: "fold", "data-label": "chat.close", "aria-label": texts["chat.close"] }, "✕")] : [];
  const languages = found.languages.map(({ tag, name }) => make("option", { value: tag, lang: tag, selected: tag === found.language }, name));
  const panel = make("section", { id: "panel", lang: found.language, dir: found.direction, role: close ? "dialog" : "region", "aria-labelledby": "title" },
    make("header", {},
      make("h2", { id: "title", ...said("chat.title") }, texts["chat.title"]),
      ...folding,
      make("label", { for: "language", class: "hidden", ...said("chat.language") }, texts["chat.language"]),
      make("select", { id: "language", autocomplete: "off" }, ...languages),
      make("button", { type: "button", id: "exit", "aria-describedby": "exit-note", ...said("chat.exit") }, texts["chat.exit"])),
    make("div", { id: "main" },
      make("p", { id: "notice", class: "notice", dir: "auto", hidden: !found.notice }, found.notice),
      make("div", { class: "intro" },
        make("p", { dir: "auto", ...said("chat.intro") }, texts["chat.intro"]),
        make("p", {}, make("strong", said("chat.exit"), texts["chat.exit"]), ": ", make("span", { id: "exit-note", ...said("chat.exit_note") }, texts["chat.exit_note"]))),
      make("div", { id: "log", role: "log", "aria-live": "polite", "data-label": "chat.log_label", "aria-label": texts["chat.log_label"] }),
      make("div", { id: "choices" })),
    make("footer", {},
      make("p", { id: "safe", class: "notice", role: "status" }),
      make("p", { id: "state", role: "status" }),
      make("p", { id: "error", role: "alert" }),
      make("form", { id: "composer" },
        make("label", { for: "text", class: "hidden", ...said("chat.placeholder") }, texts["chat.placeholder"]),
        make("textarea", { id: "text", rows: 1, dir: "auto", autocomplete: "off", enterkeyhint: "send", "aria-describedby": "error", placeholder: texts["chat.placeholder"] }),
        make("button", { type: "submit", ...said("chat.send") }, texts["chat.send"]))));
  await style(root, server, ["variables", "chat", "panel"]);
  root.append(panel);
  if (close) panel.querySelector("#fold").addEventListener("click", close);
  begin(root, panel, server, found);
  return panel;
}

function begin(root, panel, server, found) {
  let kept = null;  // the token, for as long as this page stands: nothing is stored in the host's name
  start({
    root, server,
    whole: panel,
    scroller: panel,
    exitUrl: found.exit,
    longest: found.longest,
    texts: found.texts,
    language: found.language,
    store: { read: () => kept, keep: (token) => { kept = token; }, forget: () => { kept = null; } },
    languageChanged: () => {},
  });
}
