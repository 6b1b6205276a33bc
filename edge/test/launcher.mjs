// Starts edge/serve.mjs for a test and waits until it says that it serves.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { EDGE_SECRET, JWKS } from "./gateway.mjs";

const SERVE = fileURLToPath(new URL("../serve.mjs", import.meta.url));
const TOKEN_KEYS = JSON.stringify({ current: 1, keys: { 1: "11".repeat(32) } });

export async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A directory for one edge's storage and variables; `more` are variables that only this one has. */
export function place(gatewayUrl, more = {}) {
  const state = mkdtempSync(path.join(tmpdir(), "antiphon-edge-"));
  const vars = path.join(state, "vars.json");
  const variables = { TOKEN_KEYS, SESSION_JWKS: JWKS, EDGE_SECRET, GATEWAY_URL: gatewayUrl, GATEWAY_PUBLIC_URL: gatewayUrl, ENVIRONMENT: "local", BUFFER_SHARDS: "4", ...more };
  writeFileSync(vars, JSON.stringify(variables));
  return { state, vars, remove: () => rmSync(state, { recursive: true, force: true }) };
}

/** Starts an edge in `place`; `entry` is a module that stands before the Worker. What it logs gathers in `lines`. */
export async function serve({ state, vars }, port, entry) {
  const args = [SERVE, "--port", String(port), "--state", state, "--vars", vars, "--assets", fileURLToPath(new URL("assets", import.meta.url))];
  if (entry) args.push("--entry", entry);
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const lines = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    lines.push(line);
    if (process.env.EDGE_TEST_LOG) process.stderr.write(`${line}\n`);
  });
  const exited = once(child, "exit");
  const ready = await Promise.race([
    once(createInterface({ input: child.stdout }), "line").then(([line]) => JSON.parse(line)),
    exited.then(([code]) => { throw new Error(`the launcher ended with ${code}`); }),
  ]);
  return { ...ready, child, lines, exited, stop: async () => { child.kill("SIGTERM"); return (await exited)[0]; } };
}

export function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until `condition` holds. */
export async function until(condition, what, limitMs = 10_000) {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
