/* The web chat on any page: <script src="https://…/widget.js" async data-lang="fr"></script>
   It puts a button there, and nothing else before it is pressed. No cookies, nothing stored, nobody else asked. */
(() => {
  const script = document.currentScript;
  const server = new URL(script.src).origin;

  const STYLE = `
    :host { all: initial !important; }
    #open, #panel { position: fixed; inset-inline-end: 16px; bottom: 16px; z-index: 2147483000; }
    #open { font: 600 17px/1.3 system-ui, sans-serif; min-height: 48px; max-width: calc(100vw - 32px); padding: 0 20px; border: 2px solid #fff;
            border-radius: 24px; background: #1d5877; color: #fff; cursor: pointer; }
    #open:focus-visible { outline: 3px solid #0b57d0; outline-offset: 3px; }
    #open[hidden] { display: none; }
    #panel { width: 384px; height: min(640px, calc(100dvh - 32px)); border: 1px solid #737b82; border-radius: 12px;
             box-shadow: 0 8px 32px #0004; }
    @media (max-width: 480px), (max-height: 480px) { #panel { inset: 0; width: auto; height: auto; border: 0; border-radius: 0; } }
    @media print { :host { display: none !important; } }`;

  async function ask() {
    const wanted = script.dataset.lang || navigator.languages.join(",");
    const answer = await fetch(`${server}/chat/widget.json?lang=${encodeURIComponent(wanted)}`, { credentials: "omit" });
    if (!answer.ok) throw new Error(answer.status);
    return answer.json();
  }

  function show(found) {
    const host = document.createElement("div");
    const root = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const button = document.createElement("button");
    Object.assign(button, { id: "open", type: "button", textContent: found.texts["chat.title"], lang: found.language, dir: found.direction });
    button.setAttribute("aria-expanded", "false");
    root.append(button);
    host.dir = found.direction;
    document.body.append(host);
    let panel = null, opening = false;

    const fold = () => {
      panel.hidden = true;
      button.hidden = false;
      button.setAttribute("aria-expanded", "false");
      button.focus();
    };
    const unfold = () => {
      button.hidden = true;
      button.setAttribute("aria-expanded", "true");
      panel.hidden = false;
      root.getElementById("text").focus();
    };
    async function first() {
      if (opening) return;
      opening = true;
      try {
        const { openPanel } = await import(`${server}/chat/static/panel.js`);
        panel = await openPanel(root, server, found, { close: fold });
        panel.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.isComposing) fold(); });
        unfold();
      } catch (error) {
        opening = false;  // no network: the next press tries again
        console.warn("The chat could not be opened.", error);
      }
    }
    button.addEventListener("click", () => (panel ? unfold() : first()));
  }

  const begin = () => ask().then(show, (error) => console.warn(`The chat at ${server} does not answer this page: is its origin in PASSERELLE_CHAT_ORIGINS?`, error));
  if (document.body) begin();
  else addEventListener("DOMContentLoaded", begin);
})();
