/**
 * The clients of the tests: a raw one that speaks the y-websocket protocol message by message, and
 * the libraries as they come from their registry, each behind the same few words.
 */

import { createYjsProvider } from "@y-sweet/client";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import WebSocket from "ws";
import { WebsocketProvider as Provider3 } from "y-websocket";
import { WebsocketProvider as Provider2 } from "y-websocket-2";
import * as Y from "yjs";
import { until, within } from "./server.mjs";

/** The libraries, by what they are called in test names. */
export const LIBRARIES = { "y-websocket 3.1.0": Provider3, "y-websocket 2.0.4": Provider2 };

export const SYNC = 0;
export const AWARENESS = 1;
export const AUTH = 2;
export const QUERY_AWARENESS = 3;
export const ACK = 102;
export const STEP_1 = 0;
export const STEP_2 = 1;
export const UPDATE = 2;

/** An unmodified client with its document. Call `destroy` at the end. */
export class Client {
  /**
   * @param {typeof Provider3} Library
   * @param {string} mount such as `ws://127.0.0.1:4000/yjs/doc`
   * @param {string} room
   * @param {ConstructorParameters<typeof Provider3>[3] & { doc?: Y.Doc }} [options]
   */
  constructor(Library, mount, room, { doc = new Y.Doc(), ...options } = {}) {
    this.doc = doc;
    this.provider = new Library(mount, room, doc, {
      WebSocketPolyfill: /** @type {any} */ (WebSocket),
      disableBc: true,
      ...options,
    });
    this.text = doc.getText("text");
  }

  get awareness() {
    return this.provider.awareness;
  }

  async synced() {
    await until("the client is in sync", () => this.provider.synced);
    return this;
  }

  /** Who this client sees, itself included. */
  seen() {
    return [...this.awareness.getStates().keys()];
  }

  destroy() {
    this.provider.destroy();
    this.awareness.destroy();
    this.doc.destroy();
  }
}

/**
 * A `@y-sweet/client`, unmodified, connected without y-sweet's own server in between.
 * @param {string} mount
 * @param {string} room
 */
export function sweetClient(mount, room) {
  const doc = new Y.Doc();
  const token = { url: mount, baseUrl: mount, docId: room, authorization: /** @type {const} */ ("full") };
  const provider = createYjsProvider(doc, room, async () => token, {
    WebSocketPolyfill: /** @type {any} */ (WebSocket),
    initialClientToken: token,
    showDebuggerLink: false,
  });
  return { doc, provider, text: doc.getText("text") };
}

/** A client that sends and reads single messages, and nothing by itself. */
export class RawClient {
  /** @type {Uint8Array[]} Everything received, in order. */
  received = [];
  #read = 0;
  /** @type {{ code: number, reason: string } | null} */
  closed = null;

  /** @param {string} url */
  constructor(url) {
    this.socket = new WebSocket(url);
    this.socket.binaryType = "nodebuffer";
    this.socket.on("message", (data) => {
      this.received.push(new Uint8Array(/** @type {Buffer} */ (data)));
    });
    this.socket.on("close", (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    this.socket.on("error", () => {});
    this.opened = new Promise((done, fail) => {
      this.socket.once("open", done);
      this.socket.once("error", fail);
    });
    this.opened.catch(() => {});
  }

  /** @param {string} url */
  static async open(url) {
    const client = new RawClient(url);
    await within(10_000, `a socket to ${url}`, client.opened);
    return client;
  }

  /** @param {Uint8Array | string} message */
  send(message) {
    this.socket.send(message);
  }

  /**
   * Sends messages in one piece, so that the server finds them together.
   * @param {Uint8Array[]} messages
   */
  sendTogether(messages) {
    const stream = /** @type {any} */ (this.socket)._socket;
    stream.cork();
    for (const message of messages) this.send(message);
    stream.uncork();
  }

  /** The next message that has not been taken yet. */
  async next() {
    await until("a message", () => this.received.length > this.#read || this.closed);
    const message = this.received[this.#read];
    if (message === undefined) throw new Error(`closed instead: ${JSON.stringify(this.closed)}`);
    this.#read += 1;
    return message;
  }

  /**
   * The next message of this type (and, for sync messages, subtype); others are passed over.
   * @param {number} type
   * @param {number} [subtype]
   */
  async nextOf(type, subtype) {
    for (;;) {
      const message = parse(await this.next());
      if (message.type === type && (subtype === undefined || message.subtype === subtype)) return message;
    }
  }

  /** How the server closes it. */
  async closes() {
    await until("the server closes the socket", () => this.closed);
    return /** @type {{ code: number, reason: string }} */ (this.closed);
  }

  /** Sends an ack request and waits until it is echoed: everything sent before is durable. */
  async settle(n = Math.floor(Math.random() * 2 ** 31)) {
    this.send(ackMessage(n));
    for (;;) {
      const message = await this.nextOf(ACK);
      if (message.n === n) return;
    }
  }

  close() {
    this.socket.close(1000);
  }

  /** Cuts the connection without a goodbye. */
  cut() {
    this.socket.terminate();
  }
}

/**
 * A message from the server, as far as tests look into it.
 * @param {Uint8Array} bytes
 */
export function parse(bytes) {
  const decoder = decoding.createDecoder(bytes);
  const type = decoding.readVarUint(decoder);
  const message = { type, bytes, subtype: -1, body: new Uint8Array(), reason: "", n: -1 };
  if (type === SYNC) {
    message.subtype = decoding.readVarUint(decoder);
    message.body = decoding.readVarUint8Array(decoder);
  } else if (type === AWARENESS) {
    message.body = decoding.readVarUint8Array(decoder);
  } else if (type === AUTH) {
    message.subtype = decoding.readVarUint(decoder);
    message.reason = decoding.readVarString(decoder);
  } else if (type === ACK) {
    message.body = decoding.readVarUint8Array(decoder);
    message.n = decoding.readVarUint(decoding.createDecoder(message.body));
  }
  return message;
}

/**
 * @param {number} subtype
 * @param {Uint8Array} body
 */
export function syncMessage(subtype, body) {
  return encode((encoder) => {
    encoding.writeVarUint(encoder, SYNC);
    encoding.writeVarUint(encoder, subtype);
    encoding.writeVarUint8Array(encoder, body);
  });
}

/** @param {Uint8Array} [vector] */
export const step1 = (vector = new Uint8Array([0])) => syncMessage(STEP_1, vector);
/** @param {Uint8Array} update */
export const step2 = (update) => syncMessage(STEP_2, update);
/** @param {Uint8Array} update */
export const updateMessage = (update) => syncMessage(UPDATE, update);

/** @param {number} n */
export function ackMessage(n) {
  const body = encode((encoder) => encoding.writeVarUint(encoder, n));
  return encode((encoder) => {
    encoding.writeVarUint(encoder, ACK);
    encoding.writeVarUint8Array(encoder, body);
  });
}

/**
 * @param {number} client
 * @param {number} clock
 * @param {unknown} state
 */
export function awarenessMessage(client, clock, state) {
  const body = encode((encoder) => {
    encoding.writeVarUint(encoder, 1);
    encoding.writeVarUint(encoder, client);
    encoding.writeVarUint(encoder, clock);
    encoding.writeVarString(encoder, JSON.stringify(state));
  });
  return encode((encoder) => {
    encoding.writeVarUint(encoder, AWARENESS);
    encoding.writeVarUint8Array(encoder, body);
  });
}

/**
 * What an awareness message says, by client.
 * @param {Uint8Array} body
 */
export function readAwareness(body) {
  const decoder = decoding.createDecoder(body);
  const entries = new Map();
  for (let left = decoding.readVarUint(decoder); left > 0; left -= 1) {
    const client = decoding.readVarUint(decoder);
    const clock = decoding.readVarUint(decoder);
    entries.set(client, { clock, state: JSON.parse(decoding.readVarString(decoder)) });
  }
  return entries;
}

/** @param {(encoder: encoding.Encoder) => void} write */
export function encode(write) {
  const encoder = encoding.createEncoder();
  write(encoder);
  return encoding.toUint8Array(encoder);
}

/**
 * The updates that a fresh document makes when `edit` is done to it.
 * @param {(doc: Y.Doc) => void} edit
 * @param {Y.Doc} [doc]
 */
export function updatesOf(edit, doc = new Y.Doc()) {
  /** @type {Uint8Array[]} */
  const updates = [];
  const keep = (/** @type {Uint8Array} */ update) => updates.push(update);
  doc.on("update", keep);
  edit(doc);
  doc.off("update", keep);
  return updates;
}

/**
 * One update that inserts `words` into the text.
 * @param {string} words
 */
export function insertion(words) {
  const [update] = updatesOf((doc) => doc.getText("text").insert(0, words));
  if (update === undefined) throw new Error("nothing was inserted");
  return update;
}

/**
 * The text of a document given as one update.
 * @param {Uint8Array | null} update
 */
export function textOf(update) {
  const doc = new Y.Doc();
  if (update !== null) Y.applyUpdate(doc, update);
  return doc.getText("text").toString();
}
