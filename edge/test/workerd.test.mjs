// The Worker on plain workerd behind its front proxy, configured by edge/workerd alone: what people with their own machines run.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import cache from "../workerd/cache.js";
import * as origin from "./gateway.mjs";
import { freePort, until } from "./launcher.mjs";

const EDGE = fileURLToPath(new URL("..", import.meta.url));
const NGINX = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].find(existsSync);
const { default: WORKERD } = createRequire(createRequire(import.meta.url).resolve("wrangler"))("workerd");
/** Two addresses of this machine, each in a country of its own. */
const [AT_HOME, ABROAD] = ["127.0.0.1", "127.0.0.2"];

let gateway, home, workerd, nginx, proxyPort;

before(async () => {
  assert.ok(NGINX, "nginx is not installed (on Debian: apt-get install nginx-light)");
  gateway = await origin.start();
  gateway.card.territories = ["FR"];
  home = mkdtempSync(path.join(tmpdir(), "antiphon-workerd-"));
  mkdirSync(path.join(home, "heartbeats"));
  writePages(path.join(home, "pages"));
  workerd = await startWorkerd();
  proxyPort = await freePort();
  nginx = await startNginx(proxyPort);
});
after(async () => {
  for (const child of [nginx, workerd].filter((child) => child?.exitCode === null && child.signalCode === null)) {
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  await gateway?.stop();
  if (home) rmSync(home, { recursive: true, force: true });
});
beforeEach(() => Object.assign(gateway, { refuse: false, requests: [], batches: [] }));

const socket = () => path.join(home, "edge.sock");

async function startWorkerd() {
  // A killed process leaves its socket behind, and workerd does not take over another's.
  rmSync(socket(), { force: true });
  const args = ["serve", path.join(EDGE, "workerd/antiphon.capnp"), "--socket-addr", `edge=unix:${socket()}`, "--directory-path", `heartbeats=${path.join(home, "heartbeats")}`, "--control-fd=3"];
  const env = {
    ENVIRONMENT: "test", GATEWAY_URL: gateway.url, GATEWAY_PUBLIC_URL: gateway.url, BUFFER_SHARDS: "4",
    TOKEN_KEYS: JSON.stringify({ current: 1, keys: { 1: "11".repeat(32) } }), SESSION_JWKS: origin.JWKS, EDGE_SECRET: origin.EDGE_SECRET,
  };
  const child = spawn(WORKERD, args, { env, stdio: ["ignore", "ignore", "inherit", "pipe"] });
  await Promise.race([once(child.stdio[3], "data"), once(child, "exit").then(([code]) => assert.fail(`workerd ended with ${code}`))]);
  return child;
}

function writePages(pages) {
  mkdirSync(path.join(pages, "assets"), { recursive: true });
  writeFileSync(path.join(pages, "index.html"), "<!doctype html><title>Antiphon</title>");
  writeFileSync(path.join(pages, "assets/app-0a1b.js"), "export {};");
  copyFileSync(path.join(EDGE, "../web/public/_headers"), path.join(pages, "_headers"));
}

async function startNginx(port) {
  const at = (name) => path.join(home, name);
  writeFileSync(at("countries.conf"), `${AT_HOME} FR;\n${ABROAD} US;\n`);
  const site = execFileSync(process.execPath, [path.join(EDGE, "workerd/render.mjs"), "--listen", `127.0.0.1:${port}`, "--socket", socket(), "--pages", at("pages"), "--countries", at("countries.conf")]);
  writeFileSync(at("site.conf"), site);
  const scratch = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${at(`${name}-temp`)};`).join("\n  ");
  writeFileSync(at("nginx.conf"), `daemon off;\nmaster_process off;\npid ${at("nginx.pid")};\nerror_log stderr;\nevents {}\nhttp {\n  include /etc/nginx/mime.types;\n  access_log off;\n  ${scratch}\n  include ${at("site.conf")};\n}\n`);
  const child = spawn(NGINX, ["-p", home, "-e", "stderr", "-c", at("nginx.conf")], { stdio: ["ignore", "ignore", "inherit"] });
  const ended = once(child, "exit").then(([code]) => assert.fail(`nginx ended with ${code}`));
  await Promise.race([ended, until(() => ask("/healthz").then(({ status }) => status === 200, () => false), "nginx serves")]);
  ended.catch(() => {});
  return child;
}

/** Through the proxy from one of this machine's addresses or, `past` it, straight to workerd's socket. */
function ask(target, { from = AT_HOME, past = false, ...options } = {}) {
  const where = past ? { socketPath: socket() } : { host: "127.0.0.1", port: proxyPort, localAddress: from };
  return new Promise((resolve, reject) => {
    const request = http.request({ ...where, path: target, method: options.method ?? "GET", headers: { host: "play.example", ...options.headers }, agent: false }, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      resolve({ status: response.statusCode, headers: response.headers, bytes, json: () => JSON.parse(bytes) });
    });
    request.on("error", reject);
    request.end(options.body);
  });
}

const manifest = (options = {}) => ask(`/v1/tracks/${origin.TRACK}/manifest`, { ...options, headers: { authorization: origin.session(), accept: "application/json", ...options.headers } });
const beat = (ticket, seq) => ask("/v1/me/play-event", {
  method: "POST", headers: { "content-type": "application/json" },
  body: JSON.stringify({ ticket, sender: "s", events: [{ seq, kind: "progress", from_ms: 0, to_ms: 1_000, muted: false, background: false }] }),
});

test("a segment is played through the proxy, kept by the cache, and cut to a range", async () => {
  const play = (await manifest()).json();
  const url = play.playlist_url.replace("index.m3u8", "aac-128/1.m4s");
  const cold = await ask(url);
  assert.equal(cold.status, 200);
  assert.deepEqual(cold.bytes, origin.segment("aac-128", 1));
  assert.equal(cold.headers["cache-status"], "antiphon-edge; fwd=miss; stored");
  await until(async () => (await ask(url)).headers["cache-status"] === "antiphon-edge; hit", "the segment is in the cache");
  const asked = gateway.count("/internal/media/");
  const warm = await ask(url);
  assert.deepEqual(warm.bytes, cold.bytes);
  const part = await ask(url, { headers: { range: "bytes=10-19" } });
  assert.deepEqual([part.status, part.headers["content-range"]], [206, `bytes 10-19/${cold.bytes.length}`]);
  assert.deepEqual(part.bytes, cold.bytes.subarray(10, 20));
  assert.equal(gateway.count("/internal/media/"), asked, "nothing of it was asked of the gateway again");
});

test("the country is the proxy's word, and a client's own is not believed", async () => {
  assert.equal((await manifest()).status, 200, "an address in the track's territory");
  assert.deepEqual([(await manifest({ from: ABROAD })).json().code], ["not_allowed_here"]);
  const forged = JSON.stringify({ country: "FR" });
  for (const name of ["antiphon-cf", "Antiphon-Cf", "ANTIPHON-CF", "antiphon_cf", "cf-ipcountry", "cf"]) {
    const answer = await manifest({ from: ABROAD, headers: { [name]: name === "cf-ipcountry" ? "FR" : forged } });
    assert.equal(answer.json().code, "not_allowed_here", name);
  }
  const twice = await manifest({ from: ABROAD, headers: { "antiphon-cf": [forged, forged] } });
  assert.equal(twice.json().code, "not_allowed_here");
  assert.equal((await manifest({ past: true, headers: { "antiphon-cf": forged } })).status, 200, "past the proxy it would be believed: the header is the one that counts");
});

test("the client's address is the proxy's word, too", async () => {
  await ask("/v1/anything", { from: ABROAD, headers: { "cf-connecting-ip": "203.0.113.9", "x-forwarded-for": "203.0.113.9", "x-real-ip": "203.0.113.9" } });
  const [{ headers }] = gateway.requests.filter((request) => request.path === "/v1/anything");
  assert.equal(headers["x-forwarded-for"], ABROAD);
  assert.ok(!JSON.stringify(headers).includes("203.0.113.9"), JSON.stringify(headers));
});

test("an acknowledged heartbeat is on disk when workerd is killed", async () => {
  const { play: { ticket } } = (await manifest()).json();
  gateway.refuse = true;
  assert.equal((await beat(ticket, 1)).status, 202);
  workerd.kill("SIGKILL");
  await once(workerd, "exit");
  workerd = await startWorkerd();
  gateway.refuse = false;
  // Nothing wakes the buffer but the alarm in its storage.
  await until(() => gateway.batches.flatMap(({ posts }) => posts).flatMap(({ events }) => events).some(({ seq }) => seq === 1), "the heartbeat", 30_000);
});

test("pages come from the proxy with the headers they have on Cloudflare, and what is no page from the Worker", async () => {
  const page = await ask("/");
  assert.equal(page.status, 200);
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.match(page.headers["content-security-policy"], /^default-src 'none'; script-src 'self'/);
  assert.equal(page.headers["cache-control"], "public, max-age=0, must-revalidate");
  assert.equal((await ask("/assets/app-0a1b.js")).headers["cache-control"], "public, max-age=31536000, immutable");
  for (const none of ["/nothing", "/_headers", "/internal/cards/x"]) {
    const answer = await ask(none);
    assert.deepEqual([answer.status, answer.headers["content-type"]], [404, "application/problem+json"], none);
  }
});

test("the cache holds no more than its bound and forgets first what was not asked for longest", async () => {
  const env = { CACHE_MEGABYTES: "1" };
  const key = (n) => `https://media.antiphon.internal/${n}`;
  const message = (bytes, lifetime = "public, max-age=60") => Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nCache-Control: ${lifetime}\r\nETag: "e"\r\n\r\n`), Buffer.alloc(bytes, 7)]);
  const put = async (n, body) => (await cache.fetch(new Request(key(n), { method: "PUT", body }), env)).status;
  const match = async (n) => cache.fetch(new Request(key(n)), env);
  for (let n = 0; n < 3; n += 1) assert.equal(await put(n, message(300_000)), 204);
  assert.equal((await match(0)).headers.get("cf-cache-status"), "HIT");
  assert.equal(await put(3, message(300_000)), 204);
  assert.deepEqual(await Promise.all([0, 1, 2, 3].map(async (n) => (await match(n)).status)), [200, 504, 200, 200]);
  const hit = await match(3);
  assert.deepEqual([hit.headers.get("etag"), hit.headers.get("content-length"), (await hit.arrayBuffer()).byteLength], ['"e"', "300000", 300_000]);
  assert.equal(await put(4, message(2_000_000)), 413, "larger than the whole cache");
  assert.equal(await put(5, message(10, "no-store")), 413);
  assert.equal(await put(6, message(10, "private, max-age=60")), 413);
  assert.equal((await match(4)).headers.get("cf-cache-status"), "MISS");
});
