// The edge's media path as an honest JavaScript Worker: what a careful author writes with WebCrypto and the platform's own objects. The same
// checks, the same keys, the same answers as edge/src; `bench edge` compares the two answer by answer before it measures.

import { cacheKey, card, isRevoked, keepUp, media, sheet } from "./gateway.js";
import { choose, durationMs, gather, heardMs, loudness, mediaPlaylist, multivariant, refusal, rung } from "./rules.js";
import { mint, newPlay, pseudonym, readKeys, receipt, session, uuid, verifyToken } from "./tokens.js";

const MEDIA = 1;
const EVENT = 2;
const HLS = "application/vnd.apple.mpegurl";
const COMMON = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers":
    "Antiphon-Play, Antiphon-Receipt, Antiphon-Ticket, Antiphon-Model, Cache-Status, Content-Length, Content-Range, ETag, Location, Retry-After, Server-Timing, X-Request-Id",
  "cross-origin-resource-policy": "cross-origin",
  "timing-allow-origin": "*",
  "x-content-type-options": "nosniff",
};
const SEEN_MAX = 8_192;
const SEEN_MS = 600_000;

let isolate;
let given = 0;
let keysOf;
const seen = new Map();
const counts = { byName: new Map(), writtenAt: 0 };

export default {
  async fetch(request, env, ctx) {
    const began = Date.now();
    const id = requestId(request);
    const url = new URL(request.url);
    let answer;
    try {
      answer = await serve({ request, url, env, ctx, now: began, id });
    } catch (error) {
      console.error(JSON.stringify({ level: "error", event: "fault", cause: String(error) }));
      answer = problem(500, "internal", "something failed at the edge; the request id finds it in the logs", id);
    }
    answer.headers.set("x-request-id", id);
    count(url.pathname.startsWith("/v1/media/") ? "media" : "manifest", answer.status, Date.now() - began);
    return request.method === "HEAD" ? new Response(null, answer) : answer;
  },
};

async function serve(asked) {
  const { request, url, id } = asked;
  if (request.method !== "GET" && request.method !== "HEAD") return problem(405, "method_not_allowed", "this resource answers GET and HEAD", id);
  keysOf ??= readKeys(asked.env);
  const track = /^\/v1\/tracks\/([^/]*)\/manifest$/.exec(url.pathname)?.[1];
  if (track !== undefined) return manifest(asked, await keysOf, track);
  if (url.pathname.startsWith("/v1/media/")) return mediaAnswer(asked, await keysOf);
  return problem(404, "not_found", "there is nothing at this address", id);
}

async function mediaAnswer(asked, keys) {
  const { request, url, env, ctx, now, id } = asked;
  const [token, ...rest] = url.pathname.slice("/v1/media/".length).split("/");
  keepUp(env, ctx, now);
  const claims = await verifyToken(keys, token, MEDIA, now);
  if (claims === undefined) return problem(403, "token_invalid", "this media address was not signed by this service", id);
  if (claims.expired) return problem(403, "token_expired", "this media address has expired: ask for the manifest again", id);
  if (isRevoked(claims)) return problem(403, "token_revoked", "this play was revoked", id);
  const object = parseObject(rest);
  if (object === undefined) return problem(404, "no_such_segment", "this play has nothing of that name", id);
  if (object.rung && !(claims.rungs & object.rung.bit)) return problem(403, "not_allowed_here", `this token does not allow ${object.rung.name}`, id);
  if (object.playlist) {
    const document = await sheet(env, ctx, url.host, claims.version);
    return text(request, mediaPlaylist(document, object.rung.name), HLS, `W/"${claims.version}.${object.name}"`);
  }
  const answer = await bytes(asked, claims, object);
  if (answer.status !== 200 || object.number === undefined) return answer;
  const [start, end] = heardMs(await sheet(env, ctx, url.host, claims.version), object.number);
  answer.headers.set("antiphon-receipt", await receipt(keys, claims.play, object.number, start, end));
  return answer;
}

/** One object has exactly one path. */
function parseObject(rest) {
  if (rest.length === 1) {
    const one = rung(/^(.*)\.m3u8$/.exec(rest[0])?.[1]);
    return one && { rung: one, playlist: true, name: rest[0] };
  }
  const one = rest.length === 2 ? rung(rest[0]) : undefined;
  if (one === undefined) return undefined;
  if (rest[1] === "init.mp4") return { rung: one, name: rest.join("/") };
  if (rest[1] === "first.mp4") return { rung: one, number: 0, joined: true, name: rest.join("/") };
  const number = /^(0|[1-9]\d{0,4})\.m4s$/.exec(rest[1])?.[1];
  return number === undefined ? undefined : { rung: one, number: Number(number), name: rest.join("/") };
}

function range(document, object) {
  const one = document.rungs.find((candidate) => candidate.rung === object.rung.name);
  if (object.number === undefined) return [0, one.init_bytes];
  if (object.joined) return [0, one.init_bytes + one.segment_bytes[0]];
  if (object.number >= one.segment_bytes.length) return undefined;
  return [one.segment_bytes.slice(0, object.number).reduce((sum, length) => sum + length, one.init_bytes), one.segment_bytes[object.number]];
}

async function bytes(asked, claims, object) {
  const { request, url, env, ctx, id } = asked;
  const etag = `"${claims.version}.${object.name}"`;
  const said = { ...COMMON, "content-type": "audio/mp4", "cache-control": "private, max-age=31536000, immutable", "accept-ranges": "bytes", etag };
  if (noneMatch(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers: said });
  const key = cacheKey(url.host, `media/${claims.version}/${object.name}`);
  const wanted = request.headers.get("range");
  if (wanted !== null && (request.headers.get("if-range") ?? etag) === etag) {
    const part = await caches.default.match(new Request(key, { headers: { range: wanted } }));
    if (part?.status === 206) {
      for (const name of ["content-range", "content-length"]) said[name] = part.headers.get(name);
      return new Response(part.body, { status: 206, headers: { ...said, "cache-status": "antiphon-edge; hit" } });
    }
  }
  const hit = await caches.default.match(key);
  if (hit !== undefined) {
    prefetch(asked, claims, object);
    return new Response(hit.body, { headers: { ...said, "content-length": hit.headers.get("content-length"), "cache-status": "antiphon-edge; hit" } });
  }
  const document = await sheet(env, ctx, url.host, claims.version);
  const place = range(document, object);
  if (place === undefined) return problem(404, "no_such_segment", "this play has nothing of that name", id);
  const fetched = await media(env, claims.version, object.rung.name, ...place);
  if (fetched.status !== 200) return problem(502, "origin_failed", `the origin answered ${fetched.status}`, id);
  const [mine, kept] = fetched.body.tee();
  ctx.waitUntil(store(key, place[1], kept));
  prefetch(asked, claims, object);
  return new Response(mine, { headers: { ...said, "content-length": String(place[1]), "cache-status": "antiphon-edge; fwd=miss; stored" } });
}

function store(key, length, body) {
  const headers = { "content-type": "audio/mp4", "cache-control": "public, max-age=31536000, immutable", "content-length": String(length) };
  return caches.default.put(key, new Response(body, { headers }));
}

/** The next segment goes into the cache behind this answer, unless it was seen there. */
function prefetch(asked, claims, object) {
  sees(asked, claims.version, object);
  const hint = /(?:^|,)\s*nor="([^"]*)"/.exec(asked.request.headers.get("cmcd-request") ?? "")?.[1];
  const following = `${(object.number ?? -1) + 1}.m4s`;
  const next = parseObject([object.rung.name, hint === undefined ? following : decodeURIComponent(hint)]);
  if (next !== undefined) warm(asked, claims.version, next);
}

/** Whether the object was lately seen in the cache; it is from now on. */
function sees({ url, now }, version, object) {
  const name = `${url.host}/${version}/${object.name}`;
  const known = now - (seen.get(name) ?? -Infinity) < SEEN_MS;
  if (!known) seen.set(name, now);
  if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value);
  return known;
}

function warm(asked, version, object) {
  if (sees(asked, version, object)) return;
  const { url, env, ctx } = asked;
  const fetched = async () => {
    const key = cacheKey(url.host, `media/${version}/${object.name}`);
    const place = range(await sheet(env, ctx, url.host, version), object);
    if (place === undefined || (await caches.default.match(key)) !== undefined) return;
    const response = await media(env, version, object.rung.name, ...place);
    if (response.status === 200) await store(key, place[1], response.body);
  };
  ctx.waitUntil(fetched());
}

async function manifest(asked, keys, track) {
  const { request, url, env, ctx, now, id } = asked;
  const { headers } = request;
  keepUp(env, ctx, now);
  const who = await session(keys, headers.get("authorization"), now);
  if (who.refused) return problem(401, who.refused, "log in again", id);
  const document = await card(env, ctx, url.host, track, now);
  if (document === undefined) return problem(404, "no_such_track", "there is no such track", id);
  const scores = await sheet(env, ctx, url.host, document.version);
  const { cf } = request;
  const territory = env.ENVIRONMENT !== "local" && cf?.country && cf.country !== "XX" ? cf.country : who.country;
  const refused = refusal(document, territory, now);
  if (refused) return problem(...refused, id);
  const available = scores.rungs.reduce((set, one) => set | rung(one.rung).bit, 0);
  const choice = choose(gather(headers, url.search.slice(1), cf), available, who.plan);
  if (choice === undefined) return problem(404, "no_such_rendition", "this track has no rendition your plan allows", id);

  const alias = await pseudonym(keys, who.sub);
  const play = newPlay(now);
  const length = durationMs(scores);
  const expiresAt = now + length + 6 * 3_600_000;
  const claims = {
    plan: who.plan === "premium" ? 1 : 0, rungs: choice.rungs | (choice.lossless ? 8 : 0), territory, durationMs: length, play,
    buffer: Number.parseInt(alias.slice(0, 4), 16) % Number(env.BUFFER_SHARDS), track: track.replaceAll("-", ""), version: document.version, pseudonym: alias,
  };
  const mediaToken = await mint(keys, { ...claims, purpose: MEDIA, expiresAt });
  const ticket = await mint(keys, { ...claims, purpose: EVENT, expiresAt: expiresAt + 48 * 3_600_000 });
  console.log(JSON.stringify({ level: "info", event: "play", request_id: id, play: uuid(play), track, territory, start: choice.start, reason: choice.reason }));

  const path = `/v1/media/${mediaToken}`;
  const gateway = `${env.GATEWAY_PUBLIC_URL}${path}/`;
  const wantsJson = quality(headers.get("accept"), "application/json") > quality(headers.get("accept"), HLS);
  const body = wantsJson
    ? JSON.stringify({
        play: { id: uuid(play), ticket, expires_at: new Date(expiresAt).toISOString(), heartbeat_every_ms: 15_000 },
        playlist_url: `${path}/index.m3u8`,
        fallback_playlist_url: `${env.GATEWAY_PUBLIC_URL}${path}/index.m3u8`,
        start: choice.start,
        allowed: choice.allowed,
        lossless: choice.lossless ? "flac" : null,
        reason: choice.reason,
        multivariant_playlist: multivariant(scores, choice.allowed, choice.start, "", gateway),
        first: {
          rung: choice.start,
          url: `${path}/${choice.start}/first.mp4`,
          init_bytes: scores.rungs.find((one) => one.rung === choice.start).init_bytes,
          init_url: `${path}/${choice.start}/init.mp4`,
          segment_url: `${path}/${choice.start}/0.m4s`,
          media_playlist: mediaPlaylist(scores, choice.start),
        },
        version: document.version,
        duration_ms: length,
        loudness: loudness(scores.loudness),
      })
    : multivariant(scores, choice.allowed, choice.start, `../../media/${mediaToken}/`, gateway);
  for (const name of wantsJson ? ["first.mp4"] : ["init.mp4", "0.m4s"]) warm(asked, document.version, parseObject([choice.start, name]));
  const said = {
    ...COMMON,
    "content-type": wantsJson ? "application/json" : HLS,
    "content-length": String(body.length),
    "cache-control": "private, no-store",
    vary: "Accept, Accept-Encoding, Authorization",
    "antiphon-play": uuid(play),
    "antiphon-ticket": ticket,
    "server-timing": `choice;desc="${choice.reason}"`,
  };
  return new Response(body, { headers: gzipped(request, said) });
}

/** The headers of a text that the runtime compresses where the client takes it. */
function gzipped(request, headers) {
  const coding = request.cf?.clientAcceptEncoding ?? request.headers.get("accept-encoding");
  if (quality(coding, "gzip") > 0) {
    delete headers["content-length"];
    headers["content-encoding"] = "gzip";
  }
  return headers;
}

function text(request, body, contentType, etag) {
  const headers = { ...COMMON, "content-type": contentType, "content-length": String(body.length), "cache-control": "private, max-age=3600", vary: "Accept-Encoding", etag };
  if (noneMatch(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  return new Response(body, { headers: gzipped(request, headers) });
}

function noneMatch(header, etag) {
  const opaque = (tag) => tag.trim().replace(/^W\//, "");
  return header !== null && (header.trim() === "*" || header.split(",").some((tag) => opaque(tag) === opaque(etag)));
}

/** The quality a list header gives to a name; 0 when it is not in it. */
function quality(header, name) {
  for (const item of header?.split(",") ?? []) {
    const [kind, ...parameters] = item.split(";").map((part) => part.trim());
    if (kind.toLowerCase() === name) return Number(parameters.find((part) => part.startsWith("q="))?.slice(2) ?? 1);
  }
  return 0;
}

function requestId(request) {
  const sent = request.headers.get("x-request-id");
  if (sent !== null && /^[A-Za-z0-9-]{8,64}$/.test(sent)) return sent;
  isolate ??= crypto.getRandomValues(new BigUint64Array(1))[0].toString(16).padStart(16, "0");
  given += 1;
  return `${isolate}-${given.toString(16)}`;
}

function problem(status, code, detail, id) {
  const body = JSON.stringify({ type: `urn:antiphon:problem:${code}`, title: code, status, detail, code, request_id: id });
  return new Response(body, { status, headers: { ...COMMON, "content-type": "application/problem+json", "content-length": String(body.length), "cache-control": "no-store" } });
}

/** Counted in memory and told once in ten seconds. */
function count(route, outcome, ms) {
  const name = `${route} ${outcome}`;
  const one = counts.byName.get(name) ?? { times: 0, ms: 0 };
  counts.byName.set(name, { times: one.times + 1, ms: one.ms + ms });
  const now = Date.now();
  if (now - counts.writtenAt < 10_000) return;
  counts.writtenAt = now;
  console.log(JSON.stringify({ level: "info", event: "counters", counts: [...counts.byName] }));
  counts.byName.clear();
}
