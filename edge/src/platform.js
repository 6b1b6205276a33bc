// What the Worker asks of the platform for every request, each in one crossing from WebAssembly. Nothing is decided here.

// One line each: nothing for what is not there, `=value` for what is. No value has an end of line in it.
const line = (value) => (value === null || value === undefined ? "\n" : `\n=${value}`);

/** What a request is: its method, its URL, and the headers of `names`. */
export function told(request, names) {
  return `${request.method}\n${request.url}${values(request, names)}`;
}

/** The headers of `names` alone. */
export function values({ headers }, names) {
  let text = "";
  for (const name of names) text += line(headers.get(name));
  return text;
}

/** What the platform says of the connection (`request.cf`). */
export function measured({ cf }) {
  return [cf?.country, cf?.clientAcceptEncoding, cf?.clientTcpRtt, cf?.clientQuicRtt, cf?.edgeL4?.deliveryRate].map(line).join("");
}

/** An answer with the headers of `like` and those of `fields`, which has a name and a value in turn, a line each. */
export function respond(status, like, fields, body) {
  const response = new Response(body, { status, headers: like });
  const { headers } = response;
  const lines = fields.split("\n");
  for (let n = 0; n + 1 < lines.length; n += 2) headers.set(lines[n], lines[n + 1]);
  return response;
}

const hits = { times: 0, ms: 0 };

/** The entry of the colo's cache under `key`, as `respond` answers it; else, or when the cache fails, what `otherwise` makes of the request. */
export function cached(key, like, fields, otherwise, request, env, context) {
  const began = Date.now();
  const without = () => otherwise(request, env, context);
  return caches.default.match(key).then((hit) => {
    if (hit === undefined) return without();
    hits.times += 1;
    hits.ms += Date.now() - began;
    return respond(200, like, fields, hit.body);
  }, without);
}

/** How often `cached` found what it was asked for since this was last called, and the milliseconds of all of them together. */
export function taken() {
  const { times, ms } = hits;
  hits.times = hits.ms = 0;
  return [times, ms];
}
