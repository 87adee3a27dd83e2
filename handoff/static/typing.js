/* While the advocate writes, the person in the web chat is told so; after a pause, or an empty field, no more. */

const EVERY_MS = 3000;

export function tellTyping(field, path, csrf) {
  let told = 0;
  field.addEventListener("input", () => {
    if (!field.value.trim() || Date.now() - told < EVERY_MS) return;
    told = Date.now();
    fetch(`${path}/typing`, { method: "POST", headers: { "X-CSRF-Token": csrf }, credentials: "same-origin" }).catch(() => {});
  });
}
