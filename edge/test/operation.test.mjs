// The edge on a bad day, and what it tells of it.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import { beat, below, client, code, token } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, edge, ask, manifest, play, post;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  edge = await serve(home, await freePort(), fileURLToPath(new URL("faulty.mjs", import.meta.url)));
  ({ ask, manifest, play, post } = client(edge));
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});
beforeEach(() => Object.assign(gateway, { down: false, feedDown: false, refuse: undefined, requests: [], batches: [], attempts: [] }));

const ours = () => edge.lines.map((line) => JSON.parse(line)).filter(({ source }) => source === "worker");
const told = (event) => ours().filter((line) => line.event === event);
let hosts = 0;
const newHost = () => `host-${(hosts += 1)}.example`;

test("a panic fails its own request, and none that is under way or comes later", async () => {
  const given = await play();
  const segment = (rung, n, headers) => ask(below(given, `${rung}/${n}.m4s`), { headers: { host: newHost(), ...headers } });
  gateway.held = "/internal/media/";
  const neighbours = Array.from({ length: 20 }, (_, n) => segment("aac-256", n % 3));
  await until(() => gateway.waiting() >= 20, "neighbours under way");
  // No media is fetched for these: they panic where their sheet, which this host has not seen, is put into the cache.
  const panics = await Promise.all(Array.from({ length: 5 }, () => ask(below(given, "aac-64.m3u8"), { headers: { host: newHost(), "x-fault": "yes" } })));
  for (const panic of panics) {
    assert.deepEqual(code(panic), [500, "internal"]);
    assert.equal(panic.headers["content-type"], "application/problem+json");
    assert.equal(panic.headers["access-control-allow-origin"], "*");
    assert.equal(panic.json().request_id, panic.headers["x-request-id"]);
  }
  assert.equal((await manifest()).status, 200, "the next request");
  gateway.release();
  for (const [n, answer] of (await Promise.all(neighbours)).entries()) {
    assert.deepEqual([answer.status, Buffer.compare(answer.bytes, origin.segment("aac-256", n % 3))], [200, 0], `neighbour ${n}`);
  }
  assert.equal((await post(given.play.ticket, [beat(0, 0, 0, "start")])).status, 202, "the buffer too");
  // Each listener has a buffer: what this one still held would come among the attempts that the next test counts.
  await until(() => gateway.batches.length === 1, "the merge");
  assert.equal(edge.child.exitCode, null);
});

test("a batch that the origin refuses for its bytes is set aside and told of, and those behind it go on under their own numbers", async () => {
  const { play: { ticket } } = await play();
  const sent = () => gateway.attempts.map((body) => JSON.parse(body));
  for (const passing of [403, 404, 408, 429, 503]) {
    gateway.attempts.length = 0;
    gateway.refuse = passing;
    await post(ticket, [beat(passing, 0, 100)]);
    await until(() => sent().length >= 2, `a second attempt after ${passing}`);
    assert.equal(new Set(sent().map(({ number }) => number)).size, 1, "the same batch again");
    gateway.refuse = undefined;
    await until(() => gateway.batches.flatMap(({ posts }) => posts).flatMap(({ events }) => events).some(({ seq }) => seq === passing), "the merge");
  }
  const { number } = gateway.batches.at(-1);
  gateway.attempts.length = 0;
  gateway.refuse = 400;
  await post(ticket, [beat(1_000, 0, 100)]);
  await until(() => told("batch_set_aside").length === 1, "the line that tells of it");
  gateway.refuse = undefined;
  await post(ticket, [beat(1_001, 100, 200)]);
  await until(() => gateway.batches.at(-1).number === number + 2, "the next number");
  assert.deepEqual(sent().map((batch) => batch.number), [number + 1, number + 2], "the refused one was sent once");
  const [line] = told("batch_set_aside");
  assert.deepEqual([line.level, line.number, line.status], ["error", number + 1, 400]);
});

test("no line of the log holds a token, a ticket or a session, whatever goes wrong", async () => {
  const secrets = [];
  const account = { account: "01931a2b-3c4d-7e5f-8a6b-0000000000aa" };
  const session = origin.session(account);
  secrets.push(session.split(" ")[1], session.split(".")[2]);
  const given = await play(account);
  secrets.push(token(given), given.play.ticket);
  const paths = ["index.m3u8", "aac-64.m3u8", "aac-64/0.m4s", "aac-64/first.mp4", "steering.json", "nothing", "aac-64/77.m4s"];
  const everything = async (headers) => {
    for (const object of paths) await ask(below(given, object), { headers: { host: newHost(), ...headers } });
    await ask(`/v1/tracks/${origin.TRACK}/manifest?play=${given.play.ticket}`, { headers: { authorization: session, host: newHost(), ...headers } });
    await ask(`/v1/me?access_token=${given.play.ticket}`, { headers: { authorization: session, ...headers } });
    await post(given.play.ticket, [beat(5, 9, 3)]);
    await post(`${given.play.ticket}x`, [beat(5, 0, 3)]);
  };
  await everything({});
  await everything({ "x-fault": "yes" });
  gateway.down = true;
  await everything({});
  gateway.down = false;
  gateway.refuse = 503;
  await everything({ "x-request-id": token(given).slice(0, 80) });
  await until(() => told("buffer_backs_off").length > 0 && told("request_failed").some(({ code: said }) => said === "origin_unreachable"), "lines about failures");
  assert.ok(told("play").length > 0 && told("play").every(({ request_id, track, reason }) => request_id && track && reason));
  for (const line of edge.lines) {
    for (const secret of secrets) assert.equal(line.includes(secret.slice(0, 40)), false, line);
  }
});

test("every line is one JSON object with a level and an event, and counts come by route and outcome", async () => {
  for (const line of ours()) assert.deepEqual([typeof line.level, typeof line.event], ["string", "string"]);
  const given = await play();
  const counts = () => told("counters").flatMap(({ counts }) => counts);
  await until(async () => {
    await ask(below(given, "aac-64/0.m4s"));
    return counts().some(({ route, outcome, count }) => route === "media" && outcome === "hit" && count > 0);
  }, "the count of hits", 20_000);
  assert.ok(counts().some(({ route, outcome }) => route === "media" && outcome === "internal"), "panics are counted");
  assert.ok(counts().some(({ route, outcome }) => route === "heartbeats" && outcome === "batch_set_aside"));
});
