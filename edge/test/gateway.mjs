// A stand-in for the origin, as far as the edge sees it: signed /internal/ paths and a little of /v1. Its behaviour is a test's to change.

import { createHash, createHmac, generateKeyPairSync, randomBytes, randomUUID, sign, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

export const EDGE_SECRET = randomBytes(32).toString("hex");
export const TRACK = "01931a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b";
const VERSION = "ab".repeat(16);
const RUNGS = ["aac-64", "aac-128", "aac-256"];
/** Entries of a page of the feed (protocol::revocation::PAGE_MAX). */
export const FEED_PAGE = 2_000;
const INIT_BYTES = 700;
const SEGMENT_BYTES = [20_000, 60_000, 30_001];

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
export const JWKS = JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1", alg: "EdDSA", use: "sig" }] });

/** A listener's access token. */
export function session({ plan = "premium", account = randomUUID(), expired = false } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "antiphon", sub: account, iat: now - 60, exp: expired ? now - 3600 : now + 900, play_until: expired ? now + 3600 : now + 43_200,
    sid: randomUUID(), role: "listener", plan, country: "DE", name: "Test",
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "EdDSA", typ: "JWT", kid: "k1" })}.${part(claims)}`;
  return `Bearer ${signed}.${sign(null, Buffer.from(signed), privateKey).toString("base64url")}`;
}

export const file = (rung) => Buffer.alloc(INIT_BYTES + SEGMENT_BYTES.reduce((sum, bytes) => sum + bytes, 0), (x => Buffer.from(x))(`${rung} is made of these bytes, `));
export const segment = (rung, n) => {
  const offset = INIT_BYTES + SEGMENT_BYTES.slice(0, n).reduce((sum, bytes) => sum + bytes, 0);
  return file(rung).subarray(offset, offset + SEGMENT_BYTES[n]);
};

const sheet = {
  version: VERSION, source_sha256: "0".repeat(64), packager: "test", timescale: 48_000, boundaries: [0, 96_256, 384_000, 528_384],
  priming: 1024, samples: 527_000, padding: 360, loudness: { integrated_clufs: -980, true_peak_cdbtp: -30 },
  rungs: RUNGS.map((rung) => ({
    rung, codec: "mp4a.40.2", init_bytes: INIT_BYTES, segment_bytes: SEGMENT_BYTES, peak_bps: 132_000, average_bps: 128_000, sha256: "0".repeat(64),
  })),
};

export const init = (rung) => file(rung).subarray(0, INIT_BYTES);

/** What a token says, by its layout (docs/token.md), as the feed of revocations names it. */
export function subjects(token) {
  const bytes = Buffer.from(token, "base64url");
  const hex = (offset) => bytes.subarray(offset, offset + 16).toString("hex");
  return { play: hex(17), track: hex(33), account: hex(65) };
}

/**
 * Starts the stand-in on a free port. Each of these a test may set: `down` drops every connection; `refuse` is a status that batches get instead
 * of being taken, with `retryAfter` where it is set; `feedDown` answers 503 to the feed; `held` is a prefix of paths whose requests wait for `release()`. `requests` tells what came.
 */
export async function start() {
  const gateway = {
    card: { state: "published", territories: null }, refuse: undefined, retryAfter: undefined, attemptedAt: [], down: false, feedDown: false, held: undefined,
    requests: [], batches: [], attempts: [], feed: [],
  };
  let waiting = [];
  gateway.waiting = () => waiting.length;
  gateway.release = () => {
    gateway.held = undefined;
    waiting.forEach((go) => go());
    waiting = [];
  };
  /** Revokes a thing, or with `lifted` lifts that. */
  gateway.revoke = (kind, subject, lifted = false) => {
    const now = Date.now();
    gateway.feed = gateway.feed.filter((entry) => entry.subject !== subject);
    const seq = Math.max(gateway.head() + 1, now * 1000);
    gateway.feed.push({ seq, kind, subject, at_ms: now, lifted_at_ms: lifted ? now : null, until_ms: now + 345_600_000 });
  };
  gateway.head = () => gateway.feed.at(-1)?.seq ?? 0;

  function signatureHolds(request, body) {
    const match = /^t=(\d+),s=([0-9a-f]{64})$/.exec(request.headers["antiphon-edge"] ?? "");
    if (!match || Math.abs(Date.now() - Number(match[1])) > 60_000) return false;
    const digest = createHash("sha256").update(body).digest("hex");
    const message = `antiphon-edge-1\n${request.method}\n${request.url}\n${digest}\n${match[1]}`;
    return timingSafeEqual(createHmac("sha256", Buffer.from(EDGE_SECRET, "hex")).update(message).digest(), Buffer.from(match[2], "hex"));
  }

  function internal(request, body) {
    if (!signatureHolds(request, body)) return [403, {}, "unsigned"];
    const json = { "content-type": "application/json" };
    if (request.url === "/internal/batches") {
      gateway.attempts.push(body.toString());
      gateway.attemptedAt.push(Date.now());
      const wait = gateway.retryAfter ? { "retry-after": String(gateway.retryAfter) } : {};
      if (gateway.refuse) return [gateway.refuse, { "content-type": "application/problem+json", ...wait }, JSON.stringify({ status: gateway.refuse, code: "refused" })];
      gateway.batches.push(JSON.parse(body));
      return [200, json, JSON.stringify({ outcome: "merged", counted: 0, duplicate: 0, quarantined: 0 })];
    }
    const feed = /^\/internal\/revocations\?after=(\d+)$/.exec(request.url);
    if (feed) {
      if (gateway.feedDown) return [503, {}, ""];
      const entries = gateway.feed.filter(({ seq }) => seq > Number(feed[1])).slice(0, FEED_PAGE);
      return [200, json, JSON.stringify({ head: gateway.head(), entries })];
    }
    if (request.url === `/internal/cards/${TRACK}`) {
      return [200, json, JSON.stringify({ track: TRACK, version: VERSION, title: "A title", release_at_ms: null, album_gain_cdb: null, ...gateway.card })];
    }
    if (request.url === `/internal/sheets/${VERSION}`) return [200, json, JSON.stringify(sheet)];
    const media = new RegExp(`^/internal/media/${VERSION}/([a-z0-9-]+)/(\\d+)-(\\d+)$`).exec(request.url);
    if (media && RUNGS.includes(media[1])) {
      const [offset, length] = [Number(media[2]), Number(media[3])];
      return [200, { "content-type": "audio/mp4", "cache-control": "public, max-age=31536000, immutable" }, file(media[1]).subarray(offset, offset + length)];
    }
    return [404, {}, "not here"];
  }

  const server = createServer(async (request, response) => {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // the runtime was killed while it sent
    }
    const body = Buffer.concat(chunks);
    gateway.requests.push({ method: request.method, path: request.url, headers: request.headers, body: body.toString() });
    if (gateway.down) return request.socket.destroy();
    if (gateway.held && request.url.startsWith(gateway.held)) await new Promise((go) => waiting.push(go));
    if (request.url.startsWith("/internal/")) {
      const [status, headers, answer] = internal(request, body);
      response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(answer) }).end(answer);
    } else if (request.url.startsWith("/v1/redirect")) {
      response.writeHead(302, { location: "http://elsewhere.example/" }).end();
    } else {
      response.writeHead(201, { "content-type": "application/json", "set-cookie": ["a=1", "b=2"] }).end(JSON.stringify({ echo: body.toString(), path: request.url }));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  gateway.url = `http://127.0.0.1:${server.address().port}`;
  gateway.count = (prefix) => gateway.requests.filter(({ path }) => path.startsWith(prefix)).length;
  gateway.stop = () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
  return gateway;
}
