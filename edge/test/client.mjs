// What a player does with an edge, for tests.

import assert from "node:assert/strict";
import http from "node:http";

import * as origin from "./gateway.mjs";

export function client(edge) {
  /** A request of which nothing is decoded or followed on the way. `headers.host` is sent as it is. */
  function ask(path, { method = "GET", headers = {}, body } = {}) {
    return new Promise((resolve, reject) => {
      const request = http.request(`${edge.url}${path}`, { method, headers }, async (response) => {
        const chunks = [];
        for await (const chunk of response) chunks.push(chunk);
        const bytes = Buffer.concat(chunks);
        resolve({ status: response.statusCode, headers: response.headers, bytes, text: () => bytes.toString(), json: () => JSON.parse(bytes) });
      });
      request.on("error", reject);
      request.end(body);
    });
  }

  const manifest = (options = {}) =>
    ask(`/v1/tracks/${options.track ?? origin.TRACK}/manifest`, { headers: { authorization: origin.session(options), accept: "application/json", ...options.headers } });

  /** A manifest that must be granted. */
  async function play(options) {
    const answer = await manifest(options);
    assert.equal(answer.status, 200, answer.text());
    return answer.json();
  }

  const post = (ticket, events, sender = "s1") =>
    ask("/v1/me/play-event", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ticket, sender, events }) });

  return { ask, manifest, play, post };
}

export const beat = (seq, from_ms, to_ms, kind = "progress") => ({ seq, kind, from_ms, to_ms, muted: false, background: false });
/** A refusal in short. */
export const code = (answer) => [answer.status, answer.json().code];
/** The media token of a manifest, and an address below it. */
export const token = (manifest) => manifest.playlist_url.split("/")[3];
export const below = (manifest, object) => manifest.playlist_url.replace("index.m3u8", object);
