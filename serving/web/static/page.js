// What pages do beyond links and forms. Loaded by every page; nothing is asked of any other server.
"use strict";

const say = (text) => { document.getElementById("said").textContent = text; };

// A request that is refused says why; a session that has ended leads to signing in.
document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  if (answer.status === 401) { location.reload(); return; }
  let why = `The server answered ${answer.status}.`;
  try { why = JSON.parse(answer.responseText).detail; } catch { /* no problem document */ }
  say(why);
});
document.addEventListener("htmx:sendError", () => say("The server does not answer."));

// Where to go when a button has done its work.
document.addEventListener("htmx:afterRequest", (event) => {
  const then = event.detail.elt.dataset.then;
  if (!event.detail.successful || event.detail.requestConfig.verb === "get") return;  // a part of a page is no work
  say("Done.");
  if (then === "reload") location.reload();
  else if (then) location.assign(then);
});

// The progress of the one scan that a page shows.
const followed = document.querySelector("[data-follow]");
if (followed) {
  const bar = followed.querySelector("progress"), said = followed.querySelector("[data-said]");
  const stream = new EventSource(followed.dataset.follow);
  const show = (event) => {
    const scan = JSON.parse(event.data);
    bar.value = scan.slices_done;
    const left = scan.eta_seconds === null ? "" : `, ${Math.ceil(scan.eta_seconds)} s left`;
    const rate = scan.slices_per_second === null ? "" : `, ${scan.slices_per_second.toPrecision(3)} a second`;
    said.textContent = `${scan.slices_done} of ${scan.slices_total} slices${rate}${left}`;
  };
  for (const name of ["queued", "running"]) stream.addEventListener(name, show);
  for (const name of ["succeeded", "failed", "cancelled"]) {
    stream.addEventListener(name, () => { stream.close(); location.reload(); });
  }
  stream.addEventListener("deleted", () => { stream.close(); location.assign("/"); });
}
for (const link of document.querySelectorAll("[data-reload]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector("iframe[name=viewer]").contentWindow.location.reload();
  });
}

// A segmentation that somebody has put right.
const corrected = document.querySelector("[data-correct]");
if (corrected) corrected.addEventListener("change", async () => {
  const [file] = corrected.files;
  if (!file) return;
  corrected.disabled = true;
  say(`Sending ${file.name}…`);
  try {
    const answer = await fetch(`${corrected.dataset.correct}?filename=${encodeURIComponent(file.name)}`, {
      method: "PUT",
      body: file,
      headers: {
        "Content-Type": "application/octet-stream",
        "X-CSRF-Token": document.querySelector("meta[name=csrf-token]").content,
      },
    });
    const told = await answer.json();
    if (answer.ok) { location.reload(); return; }
    say(told.detail);
  } catch {
    say("The server does not answer. Nothing of the file was kept; send it again.");
  }
  corrected.disabled = false;
  corrected.value = "";
});

// Texts to copy.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const shown = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(shown.textContent);
      say("Copied.");
    } catch {  // a page that did not come by HTTPS or from this machine may not: it is selected instead
      getSelection().selectAllChildren(shown);
      say("Selected: copy it with Ctrl and C.");
    }
  });
}

// A choice of filters is shown at once.
const filters = document.getElementById("filters");
if (filters) filters.addEventListener("change", () => filters.requestSubmit());
