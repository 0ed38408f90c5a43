// The page's side of examples/rust/src/bin/chat.rs: lines and files over one channel.
import { Group } from "./psyne.js";

/** A file goes in pieces, so that a line may come between. */
const PIECE_BYTES = 60_000;
/** What somebody may make the page keep in memory. */
const FILE_BYTES_MAX = 256 << 20;

const log = document.querySelector("#log");
const button = (form) => document.querySelector(`#${form} button`);
let group;
let channel;

function note(line) {
  log.append(line, "\n");
}

/** Does something with a form's fields, and says what went wrong. */
function on(form, act) {
  document.querySelector(`#${form}`).addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      await act(Object.fromEntries(new FormData(form)), form);
    } catch (error) {
      note(`${error.code ?? "error"}: ${error.message}`);
    }
  });
}

on("join", async ({ url, group: name, peer }) => {
  group = await Group.join({ url, group: name, peer });
  note(`joined as ${group.peer}; here: ${[...group.peers].join(", ") || "nobody else"}`);
  group.on("joined", ({ detail }) => note(`${detail} came`));
  group.on("left", ({ detail }) => note(`${detail} went`));
  group.on("down", ({ detail }) => note(`the hub is away: ${detail}`));
  group.on("channel", ({ detail }) => void talk(detail));
  button("call").disabled = false;
});

on("call", async ({ to }) => void talk(await group.connect(to)));

on("say", async ({ words, file }, form) => {
  if (words) await channel.send(JSON.stringify({ say: words }));
  if (file.size > 0) await sendFile(file);
  form.reset();
});

async function sendFile(file) {
  await channel.send(JSON.stringify({ file: file.name, bytes: file.size }));
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    const piece = await file.slice(at, at + PIECE_BYTES).arrayBuffer();
    await channel.send(new Uint8Array(piece));
  }
  note(`sent ${file.name}: ${file.size} bytes`);
}

async function talk(opened) {
  channel = opened;
  button("say").disabled = false;
  note(`connected to ${channel.peer}`);
  let file;
  for await (const message of opened) {
    if (typeof message === "string") file = hear(JSON.parse(message)) ?? file;
    else if (file) keep(file, message);
  }
  const { code, text } = await opened.closed;
  note(`closed: ${code} ${text}`);
}

/** Something was said, or a file announced. */
function hear({ say, file, bytes }) {
  if (typeof say === "string") note(`they say: ${say}`);
  if (typeof file !== "string" || !(bytes <= FILE_BYTES_MAX)) return undefined;
  const incoming = { name: file, missing: bytes, pieces: [] };
  finishIfWhole(incoming);
  return incoming;
}

function keep(file, piece) {
  file.pieces.push(piece);
  file.missing -= piece.byteLength;
  finishIfWhole(file);
}

function finishIfWhole({ name, missing, pieces }) {
  if (missing !== 0) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(pieces));
  link.download = name;
  link.textContent = `got ${name}`;
  log.append(link, "\n");
}
