// What is asked of the gateway, and what is remembered of it: cards, sheets, media, the list of revocations. Keys are the edge's own.

const ascii = new TextEncoder();
const cards = new Map();
const sheets = new Map();
const revoked = { entries: new Map(), cursor: 0, asOf: 0, attemptedAt: 0 };
let signingKey;

export const cacheKey = (host, rest) => `https://antiphon.internal/1/${host}/${rest}`;

async function ask(env, path) {
  signingKey ??= crypto.subtle.importKey("raw", Uint8Array.fromHex(env.EDGE_SECRET), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const now = Date.now();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(0))).toHex();
  const tag = new Uint8Array(await crypto.subtle.sign("HMAC", await signingKey, ascii.encode(`antiphon-edge-1\nGET\n${path}\n${digest}\n${now}`)));
  return fetch(env.GATEWAY_URL + path, { headers: { "antiphon-edge": `t=${now},s=${tag.toHex()}` }, redirect: "manual" });
}

/** At most 15 s old; at most 60 s, refreshed behind the answer. */
export async function card(env, ctx, host, track, now) {
  const known = cards.get(track);
  const age = known === undefined ? Infinity : now - known.at;
  if (age <= 15_000) return known.card;
  const refreshed = async () => {
    const response = await ask(env, `/internal/cards/${track}`);
    if (response.status !== 200) return undefined;
    const fetched = await response.json();
    cards.set(track, { card: fetched, at: now, refreshing: false });
    return fetched;
  };
  if (age <= 60_000) {
    if (!known.refreshing) {
      known.refreshing = true;
      ctx.waitUntil(refreshed());
    }
    return known.card;
  }
  return refreshed();
}

export async function sheet(env, ctx, host, version) {
  const known = sheets.get(version);
  if (known !== undefined) return known;
  const key = cacheKey(host, `sheets/${version}`);
  let text = await (await caches.default.match(key))?.text();
  if (text === undefined) {
    const response = await ask(env, `/internal/sheets/${version}`);
    if (response.status !== 200) return undefined;
    text = await response.text();
    ctx.waitUntil(caches.default.put(key, new Response(text, { headers: { "content-type": "application/json", "cache-control": "public, max-age=31536000, immutable" } })));
  }
  const parsed = JSON.parse(text);
  sheets.set(version, parsed);
  return parsed;
}

/** Bytes `offset` to `offset + length` of a rendition's file. */
export function media(env, version, rung, offset, length) {
  return ask(env, `/internal/media/${version}/${rung}/${offset}-${length}`);
}

/** Keeps the list young: asked again behind an answer when it is older than 3 s, at most once a second. */
export function keepUp(env, ctx, now) {
  if (now - revoked.asOf <= 3_000 || now - revoked.attemptedAt < 1_000) return;
  revoked.attemptedAt = now;
  ctx.waitUntil(
    ask(env, `/internal/revocations?after=${revoked.cursor}`)
      .then((response) => response.json())
      .then(({ head, entries }) => {
        for (const entry of entries) revoked.entries.set(`${entry.kind}/${entry.subject}`, entry);
        revoked.cursor = head;
        revoked.asOf = now;
      })
      .catch(() => {}),
  );
}

/** Whether a play, its account or its track is revoked. */
export function isRevoked(claims) {
  if (revoked.entries.size === 0) return false;
  const by = (kind, subject) => {
    const entry = revoked.entries.get(`${kind}/${subject}`);
    return entry !== undefined && claims.mintedMs <= (entry.lifted_at_ms ?? Infinity);
  };
  return by("play", claims.play) || by("account", claims.pseudonym) || by("track", claims.track);
}
