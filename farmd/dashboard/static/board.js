// Keeps the board fresh while somebody looks at it. Without this file the page reloads itself now and then.
"use strict";

const EVERY_MS = 2000;
const board = document.getElementById("live");
const link = document.getElementById("link");
let shown = "";

async function refresh() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch("/dashboard/live", { credentials: "same-origin", signal: AbortSignal.timeout(8000) });
  } catch {
    link.textContent = "farmd does not answer; what you see may be old";
    return;
  }
  if (answer.status === 401) return location.reload();
  if (!answer.ok) {
    link.textContent = `farmd answered ${answer.status}; what you see may be old`;
    return;
  }
  link.textContent = "";
  show(await answer.text());
}

function show(html) {
  if (html === shown) return;
  shown = html;
  const focused = document.activeElement && board.contains(document.activeElement) ? document.activeElement.id : "";
  board.innerHTML = html;
  const again = focused && document.getElementById(focused);
  if (again) again.focus();
  const calls = board.querySelectorAll(".attention li").length;
  document.title = calls ? `(${calls}) farmd` : "farmd";
}

async function turn() {
  await refresh();
  setTimeout(turn, EVERY_MS);
}

document.addEventListener("submit", (event) => {
  const ask = event.submitter && event.submitter.dataset.ask;
  if (ask && !confirm(ask)) event.preventDefault();
});
document.addEventListener("visibilitychange", refresh);
setTimeout(turn, EVERY_MS);
