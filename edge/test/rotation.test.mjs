// Token keys that change every two seconds under a running edge, while listeners start plays and fetch media: by one key document, handed
// out before the first change, and nothing restarted.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import * as origin from "./gateway.mjs";
import { freePort, place, serve } from "./launcher.mjs";

const PERIOD_MS = 2_000;
const KEYS = 5;
const LISTENERS = 8;
/** A token is used this long: less than a retiring key still verifies after its successor began to sign. */
const USED_FOR_MS = 1_500;

/** When key `id` begins to sign; key 1 was there since ever. */
let begin;
const signsFrom = (id) => begin + (id - 1) * PERIOD_MS;
/** A key verifies for one period after its successor began to sign; the last one for ever. */
const verifiesUntil = (id) => (id === KEYS ? undefined : signsFrom(id + 2));

function document() {
  const key = (id) => ({ secret: `${id}${id}`.repeat(32), signs_from_ms: id === 1 ? undefined : signsFrom(id), verifies_until_ms: verifiesUntil(id) });
  const ids = Array.from({ length: KEYS }, (_, place) => place + 1);
  return JSON.stringify({ current: 1, keys: Object.fromEntries(ids.map((id) => [id, key(id)])), pseudonym: "ff".repeat(32) });
}

let gateway, home, edge;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  begin = Date.now() + 5_000;
  writeFileSync(home.vars, JSON.stringify({ ...JSON.parse(readFileSync(home.vars, "utf8")), TOKEN_KEYS: document() }));
  edge = await serve(home, await freePort());
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});

const keyOf = (token) => Buffer.from(token, "base64url")[1];
const segment = (token, n) => fetch(`${edge.url}/v1/media/${token}/aac-64/${n}.m4s`);

test("a rotation under load refuses no valid token, and a retired key within a second", { timeout: 60_000 }, async () => {
  const headers = { authorization: origin.session(), accept: "application/json" };
  const minted = new Map();
  let used = 0;

  async function listen() {
    while (Date.now() < signsFrom(KEYS) + PERIOD_MS) {
      const answer = await fetch(`${edge.url}/v1/tracks/${origin.TRACK}/manifest`, { headers });
      const mintedAt = Date.now();
      assert.equal(answer.status, 200, await answer.clone().text());
      const token = (await answer.json()).playlist_url.split("/")[3];
      minted.set(keyOf(token), token);
      while (Date.now() < mintedAt + USED_FOR_MS) {
        const media = await segment(token, used % 3);
        const late = Date.now() - mintedAt;
        await media.arrayBuffer();
        assert.equal(media.status, 200, `a token of key ${keyOf(token)} was refused ${late} ms after it was minted`);
        used += 1;
        await sleep(50);
      }
    }
  }

  async function retire(id) {
    await sleep(Math.max(0, verifiesUntil(id) + 1_000 - Date.now()));
    const token = minted.get(id);
    assert.ok(token, `nothing was signed with key ${id}`);
    const refused = await segment(token, 0);
    assert.deepEqual([refused.status, (await refused.json()).code], [403, "token_invalid"], `key ${id} still opens media`);
  }

  const retired = Array.from({ length: KEYS - 1 }, (_, place) => retire(place + 1));
  await Promise.all([...Array.from({ length: LISTENERS }, listen), ...retired]);
  assert.deepEqual([...minted.keys()].sort(), [1, 2, 3, 4, 5], "every key signed in its turn");
  assert.ok(used > 500, `${used} uses are no load`);
});
