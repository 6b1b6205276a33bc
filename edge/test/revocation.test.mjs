// What was revoked is refused at the edge soon after, and what was not is never refused because the feed is away.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";

import { beat, below, client, code, token } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, edge, ask, manifest, play, post;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  edge = await serve(home, await freePort());
  ({ ask, manifest, play, post } = client(edge));
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});
beforeEach(() => Object.assign(gateway, { down: false, feedDown: false, requests: [] }));

const segment = (given) => ask(below(given, "aac-64/0.m4s"));
const refused = (given) => until(async () => (await segment(given)).status === 403, "a refusal");

test("a revoked play, account and track are refused, each alone, in a sentence", async () => {
  const account = randomUUID();
  const [one, two, stranger] = [await play({ account }), await play({ account }), await play()];
  for (const given of [one, two, stranger]) assert.equal((await segment(given)).status, 200);

  gateway.revoke("play", origin.subjects(token(one)).play);
  await refused(one);
  assert.deepEqual(code(await segment(one)), [403, "token_revoked"]);
  assert.equal((await segment(two)).status, 200, "another play of the account");

  gateway.revoke("account", origin.subjects(token(two)).account);
  await refused(two);
  assert.deepEqual(code(await manifest({ account })), [401, "session_revoked"]);
  assert.equal((await segment(stranger)).status, 200, "another account");

  const { track } = origin.subjects(token(stranger));
  gateway.revoke("track", track);
  await refused(stranger);
  gateway.revoke("track", track, true);
  await until(async () => (await manifest()).status === 200, "a play after the lifting");
  assert.equal((await segment(stranger)).status, 403, "what began before the lifting stays refused");
  assert.equal((await segment(await play())).status, 200);
});

test("a track that is revoked begins no play although its cached card says that it is published", async () => {
  const { track } = origin.subjects(token(await play()));
  gateway.revoke("track", track);
  await until(async () => (await manifest()).status === 410, "410");
  assert.deepEqual(code(await manifest()), [410, "taken_down"]);
  gateway.revoke("track", track, true);
  await until(async () => (await manifest()).status === 200, "the lifting");
});

test("a revoked play is silenced; a track that was taken down was still heard before", async () => {
  const [ended, kept] = [await play(), await play()];
  gateway.revoke("play", origin.subjects(ended.play.ticket).play);
  await until(async () => (await post(ended.play.ticket, [beat(0, 0, 0, "start")])).status === 410, "410");
  assert.deepEqual(code(await post(ended.play.ticket, [beat(1, 0, 1_000)])), [410, "play_ended"]);
  const { track } = origin.subjects(token(kept));
  gateway.revoke("track", track);
  await refused(kept);
  assert.equal((await post(kept.play.ticket, [beat(0, 0, 0, "start")])).status, 202);
  const renewal = await ask(`/v1/tracks/${origin.TRACK}/manifest?play=${kept.play.ticket}`, { headers: { authorization: origin.session() } });
  assert.deepEqual(code(renewal), [403, "token_revoked"]);
  gateway.revoke("track", track, true);
  await until(async () => (await manifest()).status === 200, "the lifting");
});

test("a feed of more than one page is read to its end at once", async () => {
  const given = await play();
  for (let n = 0; n < origin.FEED_PAGE + 5; n += 1) gateway.revoke("play", randomBytes(16).toString("hex"));
  gateway.revoke("play", origin.subjects(token(given)).play);
  await refused(given);
});

test("while the feed is away playback goes on and one line says so; what was revoked meanwhile is refused once it is back", async () => {
  const given = await play();
  gateway.feedDown = true;
  const attempts = () => gateway.count("/internal/revocations");
  const lines = (event) => edge.lines.filter((line) => line.includes(`"event":"${event}"`)).length;
  const [fails, backs] = [lines("revocations_fail"), lines("revocations_back")];
  gateway.revoke("play", origin.subjects(token(given)).play);
  await until(async () => {
    assert.equal((await segment(given)).status, 200, "expiry is the bound");
    return attempts() >= 4;
  }, "four attempts", 20_000);
  assert.equal(lines("revocations_fail"), fails + 1);
  gateway.feedDown = false;
  await refused(given);
  await until(() => lines("revocations_back") === backs + 1, "the line that says so");
});

test("an edge that starts while the feed hangs answers all the same", async () => {
  const [place_, port] = [place(gateway.url), await freePort()];
  gateway.held = "/internal/revocations";
  const young = await serve(place_, port);
  try {
    assert.equal((await client(young).manifest()).status, 200);
    assert.ok(gateway.waiting() > 0, "the feed was asked");
  } finally {
    gateway.release();
    await young.stop();
    place_.remove();
  }
});
