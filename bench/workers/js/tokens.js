// Tokens, sessions and pseudonyms by WebCrypto. Keys are derived and imported once an isolate, as a careful author would.

const ascii = new TextEncoder();
const SKEW_MS = 30_000;
const BODY_BYTES = 81;
const TAG_BYTES = 16;
const HMAC = { name: "HMAC", hash: "SHA-256" };
const BASE64URL = { alphabet: "base64url", omitPadding: true };
/** Refuses bits after the last byte; it wants the padding that tokens leave out. */
const ONE_SPELLING = { alphabet: "base64url", lastChunkHandling: "strict" };
const TOKEN = /^[\w-]{130}$/;

const fromHex = (text) => Uint8Array.fromHex(text);

/** Reads the documents TOKEN_KEYS and SESSION_JWKS. */
export async function readKeys(env) {
  const document = JSON.parse(env.TOKEN_KEYS);
  const byId = new Map();
  for (const [id, secret] of Object.entries(document.keys)) {
    const [media, event, receipt] = await Promise.all(["media", "event", "receipt"].map((purpose) => derive(secret, `antiphon ${purpose} v1`)));
    byId.set(Number(id), { 1: media, 2: event, receipt });
  }
  const lowest = Object.keys(document.keys).map(Number).sort((a, b) => a - b)[0];
  const sessions = new Map();
  for (const jwk of JSON.parse(env.SESSION_JWKS).keys) {
    const { kty, crv, x } = jwk;
    sessions.set(jwk.kid, await crypto.subtle.importKey("jwk", { kty, crv, x }, { name: "Ed25519" }, false, ["verify"]));
  }
  return { current: document.current, byId, pseudonym: await derive(document.pseudonym ?? document.keys[lowest], "antiphon pseudonym v1"), sessions };
}

async function derive(secret, label) {
  const root = await crypto.subtle.importKey("raw", fromHex(secret), "HKDF", false, ["deriveBits"]);
  const bits = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(32), info: ascii.encode(label) }, root, 256);
  return crypto.subtle.importKey("raw", bits, HMAC, false, ["sign"]);
}

/** The claims of a token, or `undefined`; `expired` tells which refusal it is. */
export async function verifyToken(keys, token, purpose, now) {
  const bytes = decode(token);
  if (bytes === undefined) return undefined;
  const key = keys.byId.get(bytes[1])?.[purpose];
  if (key === undefined) return undefined;
  const body = bytes.subarray(0, BODY_BYTES);
  const tag = new Uint8Array(await crypto.subtle.sign("HMAC", key, body));
  if (!equal(tag, bytes.subarray(BODY_BYTES))) return undefined;
  const claims = parse(body);
  if (claims === undefined || claims.purpose !== purpose || claims.mintedMs > now + SKEW_MS) return undefined;
  claims.expired = now - claims.expiresAt > SKEW_MS;
  return claims;
}

export function decode(token) {
  if (!TOKEN.test(token)) return undefined;
  try {
    return Uint8Array.fromBase64(`${token}==`, ONE_SPELLING);
  } catch {
    return undefined;
  }
}

/** In constant time; `tag` is cut to the length of `given`. */
function equal(tag, given) {
  let difference = 0;
  for (let n = 0; n < TAG_BYTES; n += 1) difference |= tag[n] ^ given[n];
  return difference === 0;
}

function parse(body) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (body[0] !== 1 || body[3] > 1 || body[4] > 15) return undefined;
  return {
    purpose: body[2],
    plan: body[3],
    rungs: body[4],
    territory: String.fromCharCode(body[5], body[6]),
    buffer: view.getUint16(7),
    expiresAt: view.getUint32(9) * 1000,
    durationMs: view.getUint32(13),
    mintedMs: view.getUint16(17) * 2 ** 32 + view.getUint32(19),
    play: hex(body.subarray(17, 33)),
    track: hex(body.subarray(33, 49)),
    version: hex(body.subarray(49, 65)),
    pseudonym: hex(body.subarray(65, 81)),
  };
}

export async function mint(keys, claims) {
  const bytes = new Uint8Array(BODY_BYTES + TAG_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set([1, keys.current, claims.purpose, claims.plan, claims.rungs, claims.territory.charCodeAt(0), claims.territory.charCodeAt(1)]);
  view.setUint16(7, claims.buffer);
  view.setUint32(9, Math.min(Math.floor(claims.expiresAt / 1000), 0xffffffff));
  view.setUint32(13, claims.durationMs);
  bytes.set(fromHex(claims.play), 17);
  bytes.set(fromHex(claims.track), 33);
  bytes.set(fromHex(claims.version), 49);
  bytes.set(fromHex(claims.pseudonym), 65);
  const tag = await crypto.subtle.sign("HMAC", keys.byId.get(keys.current)[claims.purpose], bytes.subarray(0, BODY_BYTES));
  bytes.set(new Uint8Array(tag, 0, TAG_BYTES), BODY_BYTES);
  return bytes.toBase64(BASE64URL);
}

/** What proves that all of segment `n`, heard from `start` to `end` ms, was asked for in the play. */
export async function receipt(keys, play, n, start, end) {
  const signed = new Uint8Array(30);
  const view = new DataView(signed.buffer);
  signed.set([1, keys.current]);
  signed.set(fromHex(play), 2);
  [n, start, end].forEach((number, place) => view.setUint32(18 + 4 * place, number));
  const tag = await crypto.subtle.sign("HMAC", keys.byId.get(keys.current).receipt, signed);
  return `1.${keys.current}.${n}.${start}.${end}.${new Uint8Array(tag, 0, 12).toBase64(BASE64URL)}`;
}

export async function pseudonym(keys, account) {
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", keys.pseudonym, fromHex(account.replaceAll("-", ""))), 0, 16));
}

const AUTHENTICATED_MAX = 1_024;
/** What a token says, once its signature was checked; the isolate alone reads it. */
const authenticated = new Map();

/** The session of an `Authorization` header for the manifest, or the code of its refusal. */
export async function session(keys, authorization, now) {
  if (authorization === null) return { refused: "session_missing" };
  const [scheme, jwt] = authorization.split(" ");
  if (scheme.toLowerCase() !== "bearer" || !(jwt?.length <= 2048)) return { refused: "session_invalid" };
  try {
    const claims = authenticated.get(jwt) ?? remember(jwt, await authenticate(keys, jwt));
    if (claims?.iss !== "antiphon" || claims.iat * 1000 - now > SKEW_MS) return { refused: "session_invalid" };
    return now - Math.max(claims.play_until, claims.exp) * 1000 > SKEW_MS ? { refused: "session_expired" } : claims;
  } catch {
    return { refused: "session_invalid" };
  }
}

/** What a token says when we signed it; `undefined` otherwise. */
export async function authenticate(keys, jwt) {
  const parts = jwt.split(".");
  if (parts.length !== 3) return undefined;
  const read = (part) => JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(part, BASE64URL)));
  const header = read(parts[0]);
  const key = header.alg === "EdDSA" ? keys.sessions.get(header.kid) : undefined;
  const signature = Uint8Array.fromBase64(parts[2], BASE64URL);
  if (key === undefined || !(await crypto.subtle.verify("Ed25519", key, signature, ascii.encode(`${parts[0]}.${parts[1]}`)))) return undefined;
  return read(parts[1]);
}

function remember(jwt, claims) {
  if (claims !== undefined) authenticated.set(jwt, claims);
  if (authenticated.size > AUTHENTICATED_MAX) authenticated.delete(authenticated.keys().next().value);
  return claims;
}

export function hex(bytes) {
  return bytes.toHex();
}

/** UUIDv7: the time, then random bits. */
export function newPlay(now) {
  const bytes = new Uint8Array(16);
  crypto.getRandomValues(bytes.subarray(6));
  new DataView(bytes.buffer).setUint32(2, now % 2 ** 32);
  new DataView(bytes.buffer).setUint16(0, Math.floor(now / 2 ** 32));
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return hex(bytes);
}

export const uuid = (id) => `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`;
