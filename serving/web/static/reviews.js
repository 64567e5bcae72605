// One slice after another: the next is fetched while one is looked at; keys G, B, U, S, and Z to take back.
const TOKEN = document.querySelector("meta[name=csrf-token]").content;
const VERDICTS = { g: "good", b: "bad", u: "unsure", s: "skip" };
const at = (id) => document.getElementById(id);
const say = (text) => { at("said").textContent = text; };

let shown = null, next = null, last = null, busy = false;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { "X-CSRF-Token": TOKEN, ...options.headers } });
  } catch {
    throw new Error("The server does not answer; nothing that was judged is lost.");
  }
  if (answer.status === 401) location.reload();
  if (answer.status === 204) return null;
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(`${said.title}: ${said.detail}`), { status: answer.status });
  return said;
}

async function fetchNext() {
  const found = await ask("/v1/reviews/next");
  if (found) for (const link of ["plain", "overlay"]) new Image().src = found.links[link];
  return found;
}

// The next one on offer; one that this page shows already, or waits to show, is not asked for twice.
function prepare() { next = fetchNext().catch((error) => { say(error.message); return null; }); }

async function show(found) {
  shown = found;
  at("loading").hidden = true;
  at("review").hidden = !found;
  at("none").hidden = Boolean(found);
  if (!found) return;
  at("what").textContent = `${found.filename}, slice ${found.slice_index} of ${found.slices}`;
  at("why").textContent = reasons(found);
  at("plain").src = found.links.plain;
  at("overlay").src = found.links.overlay;
  const organs = at("organ");
  organs.replaceChildren(new Option("the slice as a whole", ""));
  for (const organ of found.organs_of_model) organs.append(new Option(organ.replaceAll("_", " "), organ));
  organs.value = "";
}

function reasons(found) {
  const said = [];
  if (found.good !== null) said.push(`the classifier is ${Math.round(100 * found.good)}% sure that it is good`);
  if (found.organ) said.push(`in question: ${found.organ.replaceAll("_", " ")}`);
  if (found.confidence !== null) said.push(`the model is ${Math.round(100 * found.confidence)}% sure`);
  return said.length ? `(${said.join("; ")})` : "";
}

async function judge(verdict) {
  if (!shown || busy) return;
  busy = true;
  const organ = at("organ").value;
  const body = { scan: shown.scan, axis: shown.axis, slice_index: shown.slice_index, verdict, mask_sha256: shown.mask_sha256 };
  if (organ) body.organ = organ;
  const headers = { "Content-Type": "application/json" };
  try {
    const kept = await ask("/v1/reviews", { method: "POST", headers, body: JSON.stringify(body) });
    last = { id: kept.id, question: shown };
    at("undo").disabled = false;
    say(`${verdict[0].toUpperCase()}${verdict.slice(1)}: kept.`);
  } catch (error) {
    say(error.message);
    if (error.status !== 409 && error.status !== 404) { busy = false; return; }  // another mask, or none: on to the next
  }
  try { await show(await next); } finally { busy = false; }  // a key that is pressed before is not for this slice
  prepare();
  count();
}

async function takeBack() {
  if (!last || busy) return;
  busy = true;
  try {
    await ask(`/v1/reviews/${last.id}`, { method: "DELETE" });
    const before = shown;
    await show(last.question);
    if (before) next = Promise.resolve(before);
    last = null;
    at("undo").disabled = true;
    say("Taken back.");
  } catch (error) { say(error.message); }
  busy = false;
  count();
}

async function count() {
  try {
    const counts = await ask("/v1/reviews/counts");
    const pace = counts.reviewers.map((one) => `${one.reviewer} ${one.verdicts}${one.per_hour === null ? "" : ` (${Math.round(one.per_hour)} an hour)`}`);
    at("counts").textContent = `${counts.verdicts} ${counts.verdicts === 1 ? "verdict" : "verdicts"}: ${counts.good} good, ${counts.bad} bad. ${counts.waiting_for_you} wait for you. ${pace.join(", ")}`;
  } catch (error) { say(error.message); }
}

async function begin() {
  at("none").hidden = true;
  at("loading").hidden = false;
  try { await show(await fetchNext()); } catch (error) { at("loading").hidden = true; say(error.message); }
  if (shown) prepare();
  count();
}

for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => judge(button.dataset.verdict));
}
at("undo").addEventListener("click", takeBack);
at("again").addEventListener("click", begin);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target.closest("select, input, textarea")) return;
  const key = event.key.toLowerCase();
  if (key in VERDICTS) { event.preventDefault(); judge(VERDICTS[key]); }
  if (key === "z") { event.preventDefault(); takeBack(); }
});
begin();
