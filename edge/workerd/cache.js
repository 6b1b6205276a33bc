// The Cache API's service for plain workerd: what `caches.default` of the edge asks, answered from this isolate's memory.
//
// workerd turns `match` into a GET and `put` into a PUT whose body is the whole answer as HTTP/1.1 writes it, head and all; a plain HTTP
// cache (nginx, Varnish) takes no such PUT, which is why this is a Worker. One isolate serves the whole process, so a map is the cache.
// It is the nearest of three: what it forgot is in the gateway's shield, in memory or on disk, and in the object store.
//
// The only caller is our own edge: keys are its canonical URLs, and only answers of 200 with a length and a lifetime are put.

const MEGABYTES_DEFAULT = 512;
/** What one entry costs beside its bytes, roughly: the map's node, the key, the head. */
const ENTRY_BYTES = 1024;

/** Least recently used first: a map keeps the order of insertion, and a hit is inserted anew. */
const entries = new Map();
let bytesHeld = 0;

export default {
  async fetch(request, env) {
    switch (request.method) {
      case "GET":
        return match(request);
      case "PUT":
        return put(request, (Number(env.CACHE_MEGABYTES) || MEGABYTES_DEFAULT) * 1024 * 1024);
      case "PURGE":
        return new Response(null, { status: forget(request.url) ? 200 : 404 });
      default:
        return new Response(null, { status: 405 });
    }
  },
};

function match(request) {
  const entry = entries.get(request.url);
  if (entry === undefined || entry.until <= Date.now()) {
    forget(request.url);
    return new Response(null, { status: 504, headers: { "cf-cache-status": "MISS" } });
  }
  entries.delete(request.url);
  entries.set(request.url, entry);
  const range = request.headers.get("range");
  return range === null ? new Response(entry.body, { headers: entry.head }) : part(entry, range);
}

/** One range, as RFC 9110 section 14 has it; the edge asks for no other. */
function part({ body, head }, range) {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  if (first === undefined || Number(first) > Number(last)) return new Response(body, { headers: head });
  if (Number(first) >= body.byteLength) {
    return new Response(null, { status: 416, headers: { "cf-cache-status": "HIT", "content-range": `bytes */${body.byteLength}` } });
  }
  const end = Math.min(Number(last) + 1, body.byteLength);
  const headers = new Headers(head);
  headers.set("content-range", `bytes ${first}-${end - 1}/${body.byteLength}`);
  headers.set("content-length", String(end - Number(first)));
  return new Response(body.subarray(Number(first), end), { status: 206, headers });
}

async function put(request, bytesMax) {
  const message = new Uint8Array(await request.arrayBuffer());
  const headBytes = endOfHead(message);
  if (headBytes === -1) return new Response(null, { status: 400 });
  const [statusLine, ...fields] = new TextDecoder().decode(message.subarray(0, headBytes)).split("\r\n").filter((line) => line !== "");
  const head = new Headers();
  for (const field of fields) {
    const colon = field.indexOf(":");
    head.append(field.slice(0, colon), field.slice(colon + 1).trim());
  }
  const body = message.subarray(headBytes);
  const lifetimeS = maxAge(head.get("cache-control") ?? "");
  const whole = !head.has("content-length") || Number(head.get("content-length")) === body.byteLength;
  const cost = body.byteLength + ENTRY_BYTES;
  // The platform's own answer to what it does not keep.
  if (!statusLine.startsWith("HTTP/1.1 200 ") || !whole || lifetimeS === 0 || cost > bytesMax) return new Response(null, { status: 413 });
  head.delete("transfer-encoding");
  head.set("content-length", String(body.byteLength));
  head.set("cf-cache-status", "HIT");
  forget(request.url);
  entries.set(request.url, { body, head, cost, until: Date.now() + lifetimeS * 1000 });
  bytesHeld += cost;
  for (const oldest of entries.keys()) {
    if (bytesHeld <= bytesMax) break;
    forget(oldest);
  }
  return new Response(null, { status: 204 });
}

function forget(url) {
  const entry = entries.get(url);
  if (entry === undefined) return false;
  bytesHeld -= entry.cost;
  return entries.delete(url);
}

/** The place after the empty line. */
function endOfHead(message) {
  for (let at = message.indexOf(13); at !== -1; at = message.indexOf(13, at + 1)) {
    if (message[at + 1] === 10 && message[at + 2] === 13 && message[at + 3] === 10) return at + 4;
  }
  return -1;
}

function maxAge(cacheControl) {
  if (/\b(no-store|no-cache|private)\b/.test(cacheControl)) return 0;
  return Number(/\bs-maxage=(\d+)/.exec(cacheControl)?.[1] ?? /\bmax-age=(\d+)/.exec(cacheControl)?.[1] ?? 0);
}
