// The heartbeat buffer under load, filling up, and as an operator sees it.

import assert from "node:assert/strict";
import { createHash, createHmac, randomUUID } from "node:crypto";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { beat, client, code } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

const BYTES_MAX = 40_000;
let gateway, home, edge, ask, play, post;

before(async () => {
  gateway = await origin.start();
});
after(() => gateway?.stop());
beforeEach(() => {
  Object.assign(gateway, { down: false, refuse: undefined, retryAfter: undefined, requests: [], batches: [], attempts: [], attemptedAt: [] });
});
afterEach(async () => {
  await edge?.stop();
  home?.remove();
});

/** An edge of one buffer, which is empty. */
async function start(more = {}) {
  home = place(gateway.url, { BUFFER_SHARDS: "1", ...more });
  edge = await serve(home, await freePort());
  ({ ask, play, post } = client(edge));
}

const listener = async () => (await play({ account: randomUUID() })).play.ticket;
const merged = () => gateway.batches.flatMap(({ posts }) => posts).flatMap(({ events }) => events).length;

/** As the edge signs what it asks of the gateway (protocol::edge_auth). */
function signed(path, secret = origin.EDGE_SECRET) {
  const now = Date.now();
  const message = `antiphon-edge-1\nGET\n${path}\n${createHash("sha256").update("").digest("hex")}\n${now}`;
  const mac = createHmac("sha256", Buffer.from(secret, "hex")).update(message).digest("hex");
  return ask(path, { headers: { "antiphon-edge": `t=${now},s=${mac}` } });
}
const held = async () => {
  const { posts, batches } = (await signed("/internal/buffers/0-0")).json();
  return posts + batches;
};

test("a buffer that fills asks players to slow down, then refuses, and takes posts again when the origin is back", async () => {
  await start({ BUFFER_BYTES_MAX: String(BYTES_MAX) });
  gateway.refuse = 503;
  const acknowledged = [];
  let refusal;
  for (let n = 0; n < 200 && !refusal; n += 1) {
    const answer = await post(await listener(), [beat(0, 0, 100, "start"), beat(1, 0, 100)]);
    if (answer.status === 202) acknowledged.push(answer.json().heartbeat_every_ms);
    else refusal = answer;
  }
  assert.deepEqual(code(refusal), [503, "buffer_full"]);
  assert.ok(Number(refusal.headers["retry-after"]) >= 30);
  const slow = acknowledged.findIndex((everyMs) => everyMs !== undefined);
  assert.ok(slow > acknowledged.length / 3 && slow < acknowledged.length - 5, `asked to slow down from post ${slow} of ${acknowledged.length}`);
  const asked = acknowledged.slice(slow);
  assert.ok(asked.every((everyMs, n) => everyMs >= 30_000 && everyMs <= 60_000 && everyMs >= (asked[n - 1] ?? 0)), asked.join());
  const { bytes } = (await signed("/internal/buffers/0-0")).json();
  assert.ok(bytes > BYTES_MAX / 2 && bytes < BYTES_MAX + 2_000, `${bytes} bytes are held`);
  gateway.refuse = undefined;
  await until(async () => (await held()) === 0, "the buffer is empty", 60_000);
  const again = await post(await listener(), [beat(0, 0, 100)]);
  assert.deepEqual([again.status, again.json().heartbeat_every_ms], [202, undefined]);
  assert.equal(merged(), acknowledged.length * 2, "what was acknowledged arrived once");
});

test("an account that posts faster than players do is told when to come back, and no other one is", async () => {
  await start();
  const [greedy, other] = [await listener(), await listener()];
  const begun = Date.now();
  // The event is refused, so that even a busy machine answers more than the rate allows.
  const answers = await Promise.all(Array.from({ length: 320 }, (_, n) => post(greedy, [beat(n, 9_000, 3_000)])));
  const taken = answers.filter(({ status }) => status === 202).length;
  const earned = Math.ceil((Date.now() - begun) / 50);
  const refused = answers.filter(({ status }) => status !== 202);
  assert.ok(taken >= 200 && taken <= 201 + earned, `${taken} taken in ${earned} turns`);
  assert.ok(refused.length > 0);
  for (const answer of refused) assert.deepEqual([...code(answer), answer.headers["retry-after"]], [429, "too_many_heartbeats", "1"]);
  assert.equal((await post(other, [beat(0, 0, 10)])).status, 202);
  await until(async () => (await post(greedy, [beat(9_000, 0, 10)])).status === 202, "it may post again", 3_000);
});

test("many listeners ride in one request, although plays end among them, under numbers without a gap", async () => {
  await start();
  const tickets = await Promise.all(Array.from({ length: 60 }, listener));
  const answers = [];
  for (let round = 0; round < 5; round += 1) {
    answers.push(...(await Promise.all(tickets.map((ticket, n) => post(ticket, [beat(round, 0, 100, n % 14 === 0 ? "end" : "progress")])))));
  }
  assert.ok(answers.every(({ status }) => status === 202));
  await until(() => merged() === 300, "all of them");
  const riders = 300 / gateway.batches.length;
  assert.ok(riders >= 20, `${riders} ride in one request: ${gateway.batches.map(({ posts }) => posts.length)}`);
  assert.deepEqual(gateway.batches.map(({ number }) => number), gateway.batches.map((_, n) => n + 1));
  assert.equal(new Set(gateway.batches.map(({ epoch }) => epoch)).size, 1);
});

test("a batch keeps its bytes, its tries grow apart, and a wait that the origin asks for is kept", async () => {
  await start();
  Object.assign(gateway, { refuse: 503, retryAfter: 2 });
  const ticket = await listener();
  await post(ticket, [beat(0, 0, 100, "end")]);
  await until(() => gateway.attempts.length === 2, "a second try");
  await post(ticket, [beat(1, 0, 100, "end")]);
  await until(() => gateway.attempts.length === 3, "a third");
  assert.equal(new Set(gateway.attempts).size, 1, "the same bytes each time");
  const apart = gateway.attemptedAt.slice(1).map((at, n) => at - gateway.attemptedAt[n]);
  assert.ok(apart.every((ms) => ms >= 1_990), `${apart} ms apart`);
  Object.assign(gateway, { refuse: undefined, retryAfter: undefined });
  await until(() => merged() === 2, "both events", 30_000);
});

test("what is held is told to who can sign, and to nobody else", async () => {
  await start();
  gateway.refuse = 503;
  const since = Date.now();
  await post(await listener(), [beat(0, 0, 100)]);
  await post(await listener(), [beat(0, 0, 100)]);
  const listing = (await signed("/internal/buffers/0-0")).json();
  assert.equal(listing.posts + listing.batches > 0, true);
  assert.equal(listing.buffers.length, 1);
  assert.ok(listing.buffers[0].shard === 0 && listing.buffers[0].since_ms >= since && listing.buffers[0].since_ms <= Date.now());
  assert.deepEqual(code(await ask("/internal/buffers/0-0")), [404, "not_found"]);
  assert.deepEqual(code(await signed("/internal/buffers/0-0", "00".repeat(32))), [404, "not_found"]);
  assert.deepEqual(code(await signed("/internal/buffers/0-1")), [400, "bad_range"], "there is one buffer");
  gateway.refuse = undefined;
  await until(async () => (await held()) === 0, "nothing is held", 30_000);
  assert.equal(merged(), 2);
});
