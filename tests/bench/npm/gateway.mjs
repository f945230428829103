// A gateway as one writes it by hand for Node.js: ws and undici. See tests/bench/gateway_ways.py.
//
// node gateway.mjs BACKEND      prints its port; it ends with its stdin
//
// It does what those of restsock and FastAPI do: an id is repeated in the answer, at most 25 calls
// of a session run at a time, an id that is used twice is refused, a call has 10 seconds, and
// whatever goes wrong is an answer with the id.

import { createServer } from "node:http";
import { STATUS_CODES } from "node:http";
import { Pool } from "undici";
import { WebSocketServer } from "ws";

const SLOTS = 25;
const TIMEOUT = 10_000;
const backend = new URL(process.argv[2]);
const pool = new Pool(backend.origin, {
  connections: 128,
  pipelining: 1,
  bodyTimeout: TIMEOUT,
  headersTimeout: TIMEOUT,
});
const sessions = new Set();

function problem(id, status, detail) {
  const error = { title: STATUS_CODES[status], status, detail };
  return JSON.stringify({ id, status, error });
}

async function call(id, message) {
  try {
    const { statusCode, body } = await pool.request({
      path: backend.pathname,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (statusCode >= 400) {
      await body.dump();
      return problem(id, statusCode, "the backend has failed");
    }
    return JSON.stringify({ id, status: statusCode, body: await body.json() });
  } catch (error) {
    const late = error.name === "TimeoutError" || String(error.code).endsWith("_TIMEOUT");
    return problem(id, late ? 504 : 502, late ? "no answer in time" : "no answer that can be read");
  }
}

function serve(socket) {
  const ids = new Set();
  const waiting = [];
  let running = 0;
  sessions.add(socket);
  socket.on("close", () => sessions.delete(socket));
  socket.on("error", () => {});

  async function answer(id, message) {
    running += 1;
    const said = await call(id, message);
    if (socket.readyState === socket.OPEN) socket.send(said);
    ids.delete(id);
    running -= 1;
    if (waiting.length) answer(...waiting.shift());
    if (socket.isPaused && waiting.length < SLOTS) socket.resume();
  }

  socket.on("message", (data) => {
    let message;
    try {
      message = JSON.parse(data.toString());
    } catch {
      socket.send(problem(undefined, 400, "this is no JSON"));
      return;
    }
    const { id, action, ...rest } = message;
    if (id !== undefined && id !== null && ids.has(id)) {
      socket.send(problem(id, 409, "this id is in use"));
    } else if (action === "push") {
      const said = JSON.stringify({ push: rest.text });
      for (const one of sessions) one.send(said);
    } else if (action !== "echo") {
      socket.send(problem(id, 404, "no such action"));
    } else {
      ids.add(id);
      if (running < SLOTS) {
        answer(id, rest);
      } else {
        waiting.push([id, rest]);
        if (waiting.length >= SLOTS) socket.pause();
      }
    }
  });
}

const server = createServer((request, response) => response.writeHead(426).end());
const sockets = new WebSocketServer({ server, maxPayload: 32 * 1024, perMessageDeflate: false });
sockets.on("connection", serve);
server.listen({ host: "127.0.0.1", port: 0, backlog: 2048 }, () => {
  console.log(JSON.stringify({ port: server.address().port }));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
