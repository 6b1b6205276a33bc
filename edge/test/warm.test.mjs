// What is at hand is answered in fewer steps: the same answers, and the same refusals.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { below, client, code, token } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, edge, ask, play;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  edge = await serve(home, await freePort());
  ({ ask, play } = client(edge));
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});
beforeEach(() => Object.assign(gateway, { requests: [] }));

const hit = "antiphon-edge; hit";
const warm = (path) => until(async () => (await ask(path)).headers["cache-status"] === hit, "a hit");

test("a warm segment says what it says at length", async () => {
  const given = await play();
  for (const object of ["aac-64/1.m4s", "aac-128/first.mp4"]) {
    const path = below(given, object);
    await warm(path);
    const id = { "x-request-id": "given-by-the-caller" };
    const [short, long] = [await ask(path, { headers: id }), await ask(path, { headers: { ...id, "if-none-match": '"another"' } })];
    for (const answer of [short, long]) delete answer.headers.date;
    assert.equal(short.headers["x-request-id"], "given-by-the-caller");
    assert.deepEqual([short.status, short.headers], [200, long.headers], object);
    assert.deepEqual(short.bytes, long.bytes);
    const own = [await ask(path), await ask(path)].map(({ headers }) => headers["x-request-id"]);
    assert.notEqual(own[0], own[1]);
  }
});

test("what is thought to be in the cache and is not comes from the origin", async () => {
  const given = await play();
  const segment = (n) => ask(below(given, `aac-256/${n}.m4s`), { headers: { host: "forgets.example" } });
  assert.equal((await segment(2)).status, 200);
  gateway.held = "/internal/media/";
  const first = segment(0);
  await until(() => gateway.waiting() >= 1, "the first segment at the origin");
  gateway.release();
  gateway.held = "/internal/media/";
  assert.equal((await first).status, 200);
  await until(() => gateway.waiting() >= 1, "the second one, fetched behind the first");
  const second = segment(1);
  await until(() => gateway.waiting() >= 2, "the second one again, for a listener");
  gateway.release();
  const answer = await second;
  assert.deepEqual([answer.status, answer.headers["cache-status"]], [200, "antiphon-edge; fwd=miss; stored"]);
  assert.deepEqual(answer.bytes, origin.segment("aac-256", 1));
});

test("a warm segment of a play that was revoked is refused", async () => {
  const [one, other] = [await play(), await play()];
  const path = (given) => below(given, "aac-64/0.m4s");
  await warm(path(one));
  await warm(path(other));
  gateway.revoke("play", origin.subjects(token(one)).play);
  await until(async () => (await ask(path(one))).status === 403, "a refusal");
  assert.deepEqual(code(await ask(path(one))), [403, "token_revoked"]);
  assert.equal((await ask(path(other))).headers["cache-status"], hit);
  const forged = path(other).replace(/.\/aac/, (end) => (end[0] === "A" ? "E" : "A") + end.slice(1));
  assert.deepEqual(code(await ask(forged)), [403, "token_invalid"]);
  assert.deepEqual(code(await ask(path(other).replace("0.m4s", "7.m4s"))), [404, "no_such_segment"]);
});

test("a session that was seen before is refused once its account is revoked", async () => {
  const authorization = origin.session();
  const manifest = () => ask(`/v1/tracks/${origin.TRACK}/manifest`, { headers: { authorization, accept: "application/json" } });
  const [one, two] = [await manifest(), await manifest()];
  assert.deepEqual([one.status, two.status], [200, 200]);
  assert.notEqual(one.json().play.id, two.json().play.id);
  gateway.revoke("account", origin.subjects(token(two.json())).account);
  await until(async () => (await manifest()).status === 401, "a refusal");
  assert.deepEqual(code(await manifest()), [401, "session_revoked"]);
});
