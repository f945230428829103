// The ends of messages of packages for Node.js; tests/bench/message_orders.py says what they are told.
//
//     node ends.mjs ROLE socket.io|mqtt|nats|jetstream ...
//
// "socket.io" acknowledges a message when its handler has returned. "mqtt" is mqtt.js, with QoS 1,
// and aedes behind ws, in whose process the handler is. "nats" and "jetstream" are nats.ws and a
// nats-server, which is given to `serve` as a URL: of the one a handler answers each request, of the
// other the server says that a message is on its disk.

import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(import.meta.url);
const CHANNEL = "bench";
const WINDOW = 64; // messages under way at once
const PATIENCE = 1; // seconds for what is still under way at the end of a spell

const now = () => Number(process.hrtime.bigint()) / 1e9; // the clock of time.monotonic() in Python
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1e3));
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

async function obey(act) {
  for await (const line of readline.createInterface({ input: process.stdin })) say(await act(JSON.parse(line)));
  process.exit(0);
}

function percentiles(seconds) {
  if (!seconds.length) return {};
  const ordered = Float64Array.from(seconds).sort();
  const at = (part) => ordered[Math.min(Math.floor(ordered.length * part), ordered.length - 1)] * 1e3;
  return { p50_ms: at(0.5), p99_ms: at(0.99) };
}

// --- what each role does, whatever carries the messages --------------------------------------

// `send(text)` is done when the message has been handed over.
async function fan(order, send) {
  const begin = now();
  let sent = 0;
  while (now() < begin + order.fan) {
    await send(String(now()).padEnd(100));
    sent += 1;
    const wait = begin + sent * order.pause - now();
    // Timers have whole milliseconds; a turn of the loop is shorter.
    await (wait > 1e-3 ? sleep(wait) : new Promise(setImmediate));
  }
  return { sent, since: begin, seconds: now() - begin };
}

// `exchange(text)` is done when the message is acknowledged.
const calling = (exchange, window) => async (order) => {
  const text = "x".repeat(order.size);
  const begin = now();
  const end = begin + (order.one ?? order.pump);
  const seconds = [];
  async function work() {
    let before;
    while ((before = now()) < end) {
      await exchange(text);
      seconds.push(now() - before);
    }
  }
  const tasks = "one" in order ? 1 : (window ?? order.tasks);
  await Promise.all(Array.from({ length: tasks }, work));
  const found = { messages: seconds.length, seconds: now() - begin };
  return "one" in order ? { ...found, ...percentiles(seconds) } : found;
};

class Delays {
  found = [];

  note(text) {
    const made = parseFloat(text);
    this.found.push([made, now() - made]);
  }

  async answer(order) {
    const end = now() + PATIENCE;
    while (this.found.length < order.expect && now() < end) await sleep(0.01);
    const delays = this.found.filter(([made]) => made >= order.since).map(([, delay]) => delay);
    this.found = [];
    return { messages: delays.length, ...percentiles(delays) };
  }
}

// --- socket.io --------------------------------------------------------------------------------

const overWebSocket = { transports: ["websocket"], reconnection: false, forceNew: true };

async function serveSocketIO() {
  const { Server } = require("socket.io");
  const http = require("node:http").createServer();
  const io = new Server(http, { transports: ["websocket"] });
  io.on("connection", (socket) => socket.on(CHANNEL, (text, acknowledge) => acknowledge()));
  await new Promise((resolve) => http.listen({ port: 0, host: "127.0.0.1", backlog: 1024 }, resolve));
  say({ port: http.address().port });
  await obey((order) => fan(order, async (text) => io.emit(CHANNEL, text)));
}

async function openSocketIO(url) {
  const socket = require("socket.io-client").io(url.replace("ws:", "http:"), overWebSocket);
  await new Promise((resolve, reject) => socket.on("connect", resolve).on("connect_error", reject));
  return socket;
}

async function callSocketIO(url) {
  const socket = await openSocketIO(url);
  say({});
  await obey(calling((text) => new Promise((resolve) => socket.emit(CHANNEL, text, resolve)), WINDOW));
}

async function holdSocketIO(url, delays) {
  (await openSocketIO(url)).on(CHANNEL, (text) => delays.note(text));
}

// --- MQTT -------------------------------------------------------------------------------------

async function serveMQTT() {
  const { Aedes } = await import("aedes");
  const { WebSocketServer, createWebSocketStream } = require("ws");
  const broker = await Aedes.createBroker();
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 1024, perMessageDeflate: false });
  server.on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
  await new Promise((resolve) => server.on("listening", resolve));
  await new Promise((resolve) => broker.subscribe(CHANNEL, (packet, done) => done(), resolve));
  say({ port: server.address().port });
  const options = { topic: "fan", qos: 1, retain: false };
  // Its callback comes once all readers were written to, and the next message need not wait for it.
  await obey((order) => fan(order, async (payload) => void broker.publish({ ...options, payload }, () => {})));
}

const openMQTT = (url) => require("mqtt").connectAsync(url, { reconnectPeriod: 0 });

async function callMQTT(url) {
  const client = await openMQTT(url);
  say({});
  await obey(calling((text) => client.publishAsync(CHANNEL, text, { qos: 1 }), WINDOW));
}

async function holdMQTT(url, delays) {
  const client = await openMQTT(url);
  client.on("message", (topic, payload) => delays.note(payload.toString()));
  await client.subscribeAsync("fan", { qos: 1 });
}

// --- NATS -------------------------------------------------------------------------------------

function openNATS(url) {
  globalThis.WebSocket = require("ws").WebSocket;
  return require("nats.ws").connect({ servers: url, reconnect: false });
}

async function serveNATS(url, durable) {
  const connection = await openNATS(url);
  if (durable) {
    const manager = await connection.jetstreamManager();
    const bounds = { max_bytes: 64 * 1024 * 1024, discard: "old" };
    await manager.streams.add({ name: CHANNEL, subjects: [CHANNEL], storage: "file", ...bounds });
  } else connection.subscribe(CHANNEL, { callback: (error, message) => message.respond() });
  await connection.flush();
  say({});
  const encoder = new TextEncoder();
  await obey((order) => fan(order, async (text) => connection.publish("fan", encoder.encode(text))));
}

async function callNATS(url, durable) {
  const connection = await openNATS(url);
  const stream = connection.jetstream();
  const encoder = new TextEncoder();
  const publish = (text) => stream.publish(CHANNEL, encoder.encode(text));
  const request = (text) => connection.request(CHANNEL, encoder.encode(text), { timeout: 10_000, noMux: false });
  say({});
  await obey(durable ? calling(publish) : calling(request, WINDOW));
}

async function holdNATS(url, delays) {
  const connection = await openNATS(url);
  connection.subscribe("fan", { callback: (error, message) => delays.note(message.string()) });
  await connection.flush();
}

// --- the process ------------------------------------------------------------------------------

const [role, kind, , url, last] = process.argv.slice(2);
const durable = kind === "jetstream";
const ends = {
  "socket.io": { serve: serveSocketIO, call: callSocketIO, hold: holdSocketIO },
  mqtt: { serve: serveMQTT, call: callMQTT, hold: holdMQTT },
  nats: { serve: serveNATS, call: callNATS, hold: holdNATS },
}[durable ? "nats" : kind];

if (role === "hold") {
  const delays = new Delays();
  for (let number = 0; number < Number(last); number++) await ends.hold(url, delays);
  say({});
  await obey((order) => delays.answer(order));
} else await ends[role](url, durable);
