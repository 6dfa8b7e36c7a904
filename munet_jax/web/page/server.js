// Asking the server, and hearing from it.
import { PAGE, emit } from "./state.js";

// The server says why; from 500 on it is not the request that is wrong.
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}
export class Unreachable extends Error {}

export async function ask(method, path, content, headers = {}) {
  const binary = content instanceof Blob || ArrayBuffer.isView(content);
  const body = content === undefined ? undefined : binary ? content : JSON.stringify(content);
  let response;
  try {
    response = await fetch(path, { method, body, headers: { "x-page": PAGE, ...headers } });
  } catch {
    emit("reachable", false);
    throw new Unreachable("the server does not answer");
  }
  if (response.status === 403) {
    emit("shut-out");
    throw new Refused("this page is not known to the server any more", 503);
  }
  emit("reachable", true);
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok) {
    const told = type.startsWith("application/json") ? (await response.json()).error : `error ${response.status}`;
    throw new Refused(told, response.status);
  }
  return type.startsWith("application/json") ? response.json() : response;
}

export const send = (path, content = {}) => ask("POST", path, content);

const KINDS = ["frames", "session", "status", "export", "pages", "opened", "problem"];
const SILENCE = 16000; // ms without a beat after which the connection counts as dropped
let source = null;
let heard = 0;

export function listen() {
  source?.close();
  source = new EventSource("/events");
  heard = performance.now();
  const hear = () => { heard = performance.now(); };
  source.addEventListener("open", () => { hear(); emit("connected"); });
  source.addEventListener("beat", hear);
  source.addEventListener("error", () => {
    emit("reachable", false);
    // A browser gives up after an answer that is none, as of a server that is just being started again.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1500);
  });
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => { hear(); emit(`server:${kind}`, JSON.parse(event.data)); });
  }
}

setInterval(() => {
  if (source && performance.now() - heard > SILENCE) {
    emit("reachable", false);
    listen();
  }
}, 4000);
