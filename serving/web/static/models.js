// Moving a champion: asked once more, said by the server, and shown as soon as this server serves it.
const TOKEN = document.querySelector("meta[name=csrf-token]").content;
const LOOKS = 60, EVERY_MS = 1000;
const say = (text) => { document.getElementById("said").textContent = text; };
let moves = 0;

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.move) return;
  event.preventDefault();
  if (!confirm(form.dataset.confirm)) return;
  const button = form.querySelector("button"), versions = form.closest("[data-versions]");
  button.disabled = true;
  say("Asking the server…");
  try {
    const told = await move(form);
    say(`Version ${told.version} of ${told.name} is the champion.${told.served ? " This server fetches it." : ""}`);
    versions.focus();  // the button is gone in a moment
    htmx.trigger(versions, "again");
    if (told.served) await follow(told);
  } catch (error) {
    say(error.message);
    button.disabled = false;
    if (error.stale) htmx.trigger(versions, "again");
  }
});

async function move(form) {
  const { version, champion } = form.dataset, wish = { champion: champion ? Number(champion) : null };
  if (version) wish.version = Number(version);
  if (form.elements.force) wish.force = form.elements.force.value;
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": TOKEN };
  let answer;
  try {
    answer = await fetch(form.dataset.move, { method: "POST", headers, body: JSON.stringify(wish) });
  } catch {
    throw new Error("The server does not answer; load the page again to see which version is the champion.");
  }
  if (answer.status === 401) location.reload();
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(`${told.title}: ${told.detail}`), { stale: answer.status === 409 });
  return told;
}

// The table of what is served, until the new champion is in it; one that this server refuses is named there too.
async function follow({ name, version }) {
  const mine = ++moves;
  for (let look = 0; look < LOOKS && mine === moves; look += 1) {
    htmx.trigger(document.body, "moved");
    await new Promise((then) => { setTimeout(then, EVERY_MS); });
    const rows = [...document.querySelectorAll("#served-now tbody tr")];
    if (rows.some((row) => row.dataset.model === name && row.dataset.version === String(version))) {
      if (mine === moves) say(`Version ${version} of ${name} is the champion, and serves.`);
      return;
    }
  }
}
