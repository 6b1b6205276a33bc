// Segment receipts: which answers of the edge carry one, for whom, and that what a player echoes goes on to the origin as it came.

import assert from "node:assert/strict";
import { createHmac, hkdfSync } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";

import { beat, below, client, token } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, edge, ask, play, post;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  edge = await serve(home, await freePort());
  ({ ask, play, post } = client(edge));
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});
beforeEach(() => Object.assign(gateway, { down: false, requests: [], batches: [] }));

/** Where the segments of the stand-in's sheet begin and end to be heard. */
const HEARD = [[0, 1_984], [1_984, 7_978], [7_978, 10_979]];

/** By docs/token.md and not by the code under test, with the secret of the launcher's keys. */
function receipt(manifest, n) {
  const key = Buffer.from(hkdfSync("sha256", Buffer.from("11".repeat(32), "hex"), Buffer.alloc(0), "antiphon receipt v1", 32));
  const [start, end] = HEARD[n];
  const numbers = Buffer.alloc(12);
  [n, start, end].forEach((number, at) => numbers.writeUInt32BE(number, at * 4));
  const { play } = origin.subjects(token(manifest));
  const signed = Buffer.concat([Buffer.from([1, 1]), Buffer.from(play, "hex"), numbers]);
  return `1.1.${n}.${start}.${end}.${createHmac("sha256", key).update(signed).digest().subarray(0, 12).toString("base64url")}`;
}
const given = (answer) => answer.headers["antiphon-receipt"];

test("a segment asked for in full brings the receipt of its play, from the origin as from the cache, in every rung alike", async () => {
  const [one, other] = [await play(), await play()];
  const segment = (manifest, rung, n) => below(manifest, `${rung}/${n}.m4s`);
  for (const rung of ["aac-64", "aac-256"]) {
    for (const n of [0, 1, 2]) {
      const answer = await ask(segment(one, rung, n));
      assert.deepEqual([answer.status, given(answer)], [200, receipt(one, n)], `${rung} ${n}`);
      assert.deepEqual(answer.bytes, origin.segment(rung, n));
    }
  }
  const hit = async (manifest) => {
    const answer = await ask(segment(manifest, "aac-256", 1));
    return answer.headers["cache-status"] === "antiphon-edge; hit" && answer;
  };
  await until(() => hit(other), "a hit");
  assert.deepEqual([given(await hit(other)), given(await hit(one))], [receipt(other, 1), receipt(one, 1)]);
  assert.notEqual(receipt(other, 1), receipt(one, 1));
  const first = await ask(below(one, "aac-128/first.mp4"));
  assert.deepEqual([first.status, given(first)], [200, receipt(one, 0)]);
  assert.match(first.headers["access-control-expose-headers"], /\bAntiphon-Receipt\b/);
});

test("what was not asked for in full, or is no part of the track, brings none", async () => {
  const manifest = await play();
  const url = below(manifest, "aac-128/1.m4s");
  const whole = await ask(url);
  assert.equal(given(whole), receipt(manifest, 1));
  const none = {
    "a part": [206, await ask(url, { headers: { range: "bytes=0-9" } })],
    "all of it, as a part": [206, await ask(url, { headers: { range: "bytes=0-" } })],
    "beyond the end": [416, await ask(url, { headers: { range: "bytes=60000-" } })],
    "not changed": [304, await ask(url, { headers: { "if-none-match": whole.headers.etag } })],
    HEAD: [200, await ask(url, { method: "HEAD" })],
    "the init section": [200, await ask(below(manifest, "aac-128/init.mp4"))],
    "a playlist": [200, await ask(below(manifest, "aac-128.m3u8"))],
    "no such segment": [404, await ask(below(manifest, "aac-128/3.m4s"))],
  };
  for (const [name, [status, answer]] of Object.entries(none)) assert.deepEqual([answer.status, given(answer)], [status, undefined], name);
  // A range that is ignored is an answer in full.
  assert.equal(given(await ask(url, { headers: { range: "bytes=5-2" } })), receipt(manifest, 1));
});

test("cached music and its receipts need no origin", async () => {
  const manifest = await play();
  await until(async () => (await ask(below(manifest, "aac-64/1.m4s"))).headers["cache-status"] === "antiphon-edge; hit", "a hit");
  gateway.down = true;
  const answer = await ask(below(manifest, "aac-64/1.m4s"));
  assert.deepEqual([answer.status, given(answer)], [200, receipt(manifest, 1)]);
});

test("echoed receipts reach the origin with their post; a bad one refuses no event; late ones need none", async () => {
  const manifest = await play();
  const { ticket } = manifest.play;
  const echo = (events, receipts) =>
    ask("/v1/me/play-event", { method: "POST", body: JSON.stringify({ ticket, sender: "s", events, receipts }) });
  const good = [receipt(manifest, 0), receipt(manifest, 1)];
  const first = (await echo([beat(0, 0, 0, "start")], [...good, 7, "x".repeat(97)])).json();
  assert.deepEqual([first.accepted, first.receipts_dropped], [1, 2]);
  // The same post again, with a receipt that came meanwhile: its event is known, the receipt is not.
  const again = (await echo([beat(0, 0, 0, "start")], [receipt(manifest, 2)])).json();
  assert.deepEqual([again.accepted, again.duplicate, again.receipts_dropped], [0, 1, undefined]);
  assert.equal((await echo([beat(1, 0, 1_000)], { not: "a list" })).json().accepted, 1);
  assert.equal((await echo([], Array(70).fill("r"))).json().receipts_dropped, 6);
  assert.equal((await post(ticket, [beat(2, 1_000, 2_000, "end")])).json().accepted, 1);
  const posts = () => gateway.batches.flatMap(({ posts }) => posts).filter((kept) => kept.ticket === ticket);
  await until(() => posts().length === 5, "five posts");
  const kept = posts().map(({ events, receipts }) => [events.map(({ seq }) => seq), receipts]);
  assert.deepEqual(kept, [[[0], good], [[], [receipt(manifest, 2)]], [[1], undefined], [[], Array(64).fill("r")], [[2], undefined]]);
});
