// Sends files and folders by tus, each part with its checksum, and makes scans of them.
import { downloadZip } from "/static/vendor/client-zip-2.5.1.js";

const PART_BYTES = 8 * 1024 * 1024;
// Refusals of the file itself, after which another has to be sent.
const FINAL = new Set([400, 404, 409, 413, 415, 422]);
const RETRY_MILLISECONDS = [0, 1000, 3000, 5000, 10000, 20000];
const TOKEN = document.querySelector("meta[name=csrf-token]").content;
const list = document.getElementById("uploads");
const drop = document.getElementById("drop");

// A reader of tus that computes the SHA-256 of the part it gives; browsers do so over HTTPS and on this machine alone.
class Hashed {
  constructor() { this.checksum = null; }
  async openFile(file, size) {
    const source = await tus.defaultOptions.fileReader.openFile(file, size);
    return {
      size: source.size,
      close: () => source.close(),
      slice: async (start, end) => {
        const part = await source.slice(start, end);
        this.checksum = await sha256(part.value);
        return part;
      },
    };
  }
}

async function sha256(part) {
  if (!globalThis.crypto?.subtle || !part) return null;
  const digest = await crypto.subtle.digest("SHA-256", await new Blob([part]).arrayBuffer());
  return `sha256 ${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}

class Row {
  constructor(name) {
    this.item = document.createElement("li");
    this.bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Sent of ${name}`);
    this.text = document.createElement("span");
    this.stop = Object.assign(document.createElement("button"), { textContent: "Stop", className: "secondary" });
    this.stop.setAttribute("aria-label", `Stop sending ${name}`);
    const title = Object.assign(document.createElement("strong"), { textContent: name });
    this.item.append(title, " ", this.bar, this.text, " ", this.stop);
    list.append(this.item);
  }
  say(text, bad = false) { this.text.textContent = ` ${text}`; this.text.className = bad ? "bad" : ""; }
  done() { this.item.remove(); }
}

async function send(file, name, fingerprint) {
  const row = new Row(name), reader = new Hashed();
  row.say("looking whether some of it was sent before…");
  const upload = new tus.Upload(file, {
    endpoint: "/v1/uploads",
    chunkSize: PART_BYTES,
    retryDelays: RETRY_MILLISECONDS,
    metadata: { filename: name },
    headers: { "X-CSRF-Token": TOKEN },
    fileReader: reader,
    removeFingerprintOnSuccess: false,
    ...(fingerprint ? { fingerprint: async () => fingerprint } : {}),
    onBeforeRequest: (request) => {
      if (request.getMethod() === "PATCH" && reader.checksum) request.setHeader("Upload-Checksum", reader.checksum);
    },
    onProgress: (sent, all) => {
      row.bar.value = all ? sent / all : 0;
      row.say(`${mebibytes(sent)} of ${mebibytes(all)} MB`);
    },
    onError: (error) => {
      row.say(`was not sent: ${detail(error)} Choose it again to go on where it stopped.`, true);
      row.stop.textContent = "Close";
    },
    onSuccess: () => accept(upload, row, {}),
  });
  row.stop.addEventListener("click", async () => { await upload.abort(); row.done(); });
  const [before] = await upload.findPreviousUploads();
  if (before) upload.resumeFromPreviousUpload(before);
  upload.start();
}

async function accept(upload, row, more) {
  row.bar.removeAttribute("value");
  row.say("the server reads every voxel of it…");
  const id = upload.url.split("/").pop(), asked = performance.now();
  let answer;
  try {
    answer = await fetch("/v1/scans", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": TOKEN },
      body: JSON.stringify({ source: { upload: id }, ...more }),
    });
  } catch {
    row.say("the server does not answer; nothing that was sent is lost.", true);
    again(row, () => accept(upload, row, more));
    return;
  }
  if (answer.ok) {
    forget(upload);
    const scan = await answer.json();
    if (wasThere(scan, answer, performance.now() - asked)) known(row, scan);
    else row.done();
    return;
  }
  let problem = { title: `The server answered ${answer.status}`, detail: "", type: "" };
  try { problem = await answer.json(); } catch { /* whoever stands before the server has answered */ }
  row.bar.value = 1;
  row.say(`${problem.title}: ${problem.detail}`, true);
  row.stop.textContent = "Close";
  if (problem.type.endsWith(":spacing-missing")) askSpacing(upload, row);
  else if (FINAL.has(answer.status)) forget(upload);
  else again(row, () => accept(upload, row, more));  // what was sent is there, and waits
}

// Whether a scan was there before it was asked for, by the server's clock.
function wasThere(scan, answer, milliseconds) {
  return Date.parse(scan.created) < Date.parse(answer.headers.get("date")) - milliseconds - 2000;
}

function known(row, scan) {
  row.bar.value = 1;
  row.say("is a file that was segmented with this model before: ");
  row.text.append(Object.assign(document.createElement("a"), { href: `/scans/${scan.id}`, textContent: scan.filename }));
  row.stop.textContent = "Close";
}

function again(row, work) {
  const button = Object.assign(document.createElement("button"), { textContent: "Try again" });
  button.addEventListener("click", () => { button.remove(); work(); });
  row.item.append(" ", button);
}

function askSpacing(upload, row) {
  const form = document.createElement("form");
  const label = Object.assign(document.createElement("label"), { textContent: "Voxel size in mm: z, y, x " });
  const field = Object.assign(document.createElement("input"), { placeholder: "0.01, 0.005, 0.005", required: true });
  label.append(field);
  form.append(label, Object.assign(document.createElement("button"), { textContent: "Use this" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.remove();
    accept(upload, row, { spacing: field.value.replaceAll(/\s/g, "") });
  });
  row.item.append(form);
  field.focus();
}

function forget(upload) {
  if (upload._urlStorageKey) localStorage.removeItem(upload._urlStorageKey);
}

function detail(error) {
  try { return JSON.parse(error.originalResponse.getBody()).detail + "."; } catch { return "the server does not answer."; }
}

const mebibytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);

// A folder is one scan: its files, stored in one archive in the order of their names.
async function sendFolder(name, files) {
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  const row = new Row(name);
  row.say(`${files.length} files are put together…`);
  const inputs = files.map(({ path, file }) => ({ name: path, input: file, lastModified: new Date(file.lastModified) }));
  const archive = await downloadZip(inputs).blob();
  row.done();
  const said = files.map(({ path, file }) => `${path} ${file.size} ${file.lastModified}`).join("\n");
  const digest = await sha256(new Blob([said]));
  await send(archive, `${name}.zip`, `ricefish-folder ${digest ?? said} ${location.host}`);
}

async function filesOf(entry, path = "") {
  const here = path + entry.name;
  if (entry.isFile) return [{ path: here, file: await new Promise((done, failed) => entry.file(done, failed)) }];
  const reader = entry.createReader(), found = [];
  for (;;) {
    const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!entries.length) return found;
    for (const one of entries) found.push(...await filesOf(one, `${here}/`));
  }
}

if (drop) {
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.choose).click());
  }
  document.getElementById("files").addEventListener("change", (event) => {
    for (const file of event.target.files) send(file, file.name);
    event.target.value = "";
  });
  document.getElementById("folder").addEventListener("change", (event) => {
    const files = [...event.target.files].map((file) => ({ path: file.webkitRelativePath, file }));
    if (files.length) sendFolder(files[0].path.split("/")[0], files);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    for (const entry of entries) {
      const files = await filesOf(entry);
      if (entry.isFile) send(files[0].file, entry.name);
      else if (files.length) sendFolder(entry.name, files);
    }
  });
}
