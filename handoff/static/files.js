/* Files that a person sent: "Open" without leaving the page, which would lose the place and read the whole log again. */

import { by, load, localTimes } from "./console.js";

/* One that was pressed keeps its place: only the files of its message are replaced. */
async function open(event) {
  const form = event.target.closest(".file form");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button"), status = form.querySelector("[role=status]"), name = form.closest(".file").id;
  if (button.disabled) return;
  button.disabled = true;
  status.textContent = form.dataset.busy;
  const answer = await load(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  const files = answer?.ok ? answer.page.querySelector(".files") : null;
  if (!files) {
    button.disabled = false;
    status.textContent = form.dataset.failed;
    return;
  }
  form.closest(".files").replaceWith(files);
  localTimes(files);
  const place = by(name);
  place.tabIndex = -1;
  (place.querySelector("input:not([type=hidden]), audio, video, a, button") ?? place).focus();
}

export function openFiles(log) {
  log.addEventListener("submit", open);
}
