// What the edge keeps, for whom, and what it fetches before it is asked.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { gunzipSync } from "node:zlib";

import { below, client, code, token } from "./client.mjs";
import * as origin from "./gateway.mjs";
import { freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, edge, ask, manifest, play;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  edge = await serve(home, await freePort());
  ({ ask, manifest, play } = client(edge));
});
after(async () => {
  await edge?.stop();
  await gateway?.stop();
  home?.remove();
});
beforeEach(() => Object.assign(gateway, { down: false, card: { state: "published", territories: null }, requests: [] }));

const HIT = "antiphon-edge; hit";
const media = (rung) => gateway.requests.filter(({ path }) => path.includes(`/${rung}/`)).map(({ path }) => path.split("/").at(-1));
/** Each test has hosts of its own, and with them a cache that is empty. */
let hosts = 0;
const newHost = () => `host-${(hosts += 1)}.example`;
const from = (host, path, headers = {}) => ask(path, { headers: { ...headers, host } });
const isHit = async (host, path) => (await from(host, path)).headers["cache-status"] === HIT;

test("first.mp4 is the init section and segment 0, and answers HEAD, ranges and validators as they do", async () => {
  const given = await play();
  const host = newHost();
  const url = below(given, "aac-64/first.mp4");
  const whole = Buffer.concat([origin.init("aac-64"), origin.segment("aac-64", 0)]);
  const head = await ask(url, { method: "HEAD", headers: { host } });
  assert.deepEqual([head.status, head.headers["content-length"], head.bytes.length], [200, String(whole.length), 0]);
  assert.deepEqual(media("aac-64"), [], "a HEAD fetches no media");
  const part = await from(host, url, { range: "bytes=690-709" });
  assert.deepEqual([part.status, part.headers["content-range"]], [206, `bytes 690-709/${whole.length}`]);
  assert.deepEqual(part.bytes, whole.subarray(690, 710));
  const first = await from(host, url);
  assert.deepEqual([first.status, first.headers["cache-status"], first.headers["content-type"]], [200, HIT, "audio/mp4"]);
  assert.deepEqual(first.bytes, whole);
  assert.notEqual(first.headers.etag, (await from(host, below(given, "aac-64/0.m4s"))).headers.etag);
  const unchanged = await from(host, url, { "if-none-match": first.headers.etag });
  assert.deepEqual([unchanged.status, unchanged.bytes.length], [304, 0]);
  assert.equal((await from(host, url, { range: `bytes=${whole.length}-` })).status, 416);
});

test("steering.json says the same to everybody who may ask", async () => {
  const url = below(await play(), "steering.json");
  const answer = await ask(url);
  assert.deepEqual(answer.json(), { VERSION: 1, TTL: 300, "PATHWAY-PRIORITY": ["edge", "gateway"] });
  assert.equal(answer.headers["content-type"], "application/json");
  const head = await ask(url, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.bytes.length], [200, String(answer.bytes.length), 0]);
  assert.equal((await ask(url, { headers: { "if-none-match": answer.headers.etag } })).status, 304);
  const zipped = await ask(url, { headers: { "accept-encoding": "gzip" } });
  assert.deepEqual(gunzipSync(zipped.bytes), answer.bytes);
  assert.deepEqual(code(await ask(url.replace(/media\/[^/]+/, "media/x"))), [403, "token_invalid"]);
});

test("a manifest has the first object of its start rung in the cache before the player asks", async () => {
  const host = newHost();
  const answer = await manifest({ headers: { host, "save-data": "on" } });
  const { url } = answer.json().first;
  assert.match(url, /\/aac-64\/first\.mp4$/);
  await until(() => media("aac-64").length === 1, "the fetch");
  await until(() => isHit(host, url), "a hit");
  assert.equal(media("aac-64").filter((range) => range.startsWith("0-")).length, 1, "it was fetched once");
});

test("a plain player's manifest has the init section and segment 0 there", async () => {
  const host = newHost();
  const answer = await from(host, `/v1/tracks/${origin.TRACK}/manifest`, { authorization: origin.session(), "save-data": "on" });
  assert.match(answer.text(), /^#EXTM3U/);
  await until(() => ["0-700", "700-20000"].every((range) => media("aac-64").includes(range)), "two fetches");
});

test("the next segment is fetched behind the answer, and what the player says comes next goes before it", async () => {
  const [given, host] = [await play(), newHost()];
  assert.equal((await from(host, below(given, "aac-128/0.m4s"))).status, 200);
  await until(() => media("aac-128").includes("20700-60000"), "segment 1");
  await until(() => isHit(host, below(given, "aac-128/1.m4s")), "a hit");

  const other = newHost();
  assert.equal((await from(other, `${below(given, "aac-128/0.m4s")}?CMCD=${encodeURIComponent('nor="../aac-64/2.m4s"')}`)).status, 200);
  await until(() => media("aac-64").includes("80700-30001"), "segment 2 of the other rung");
  assert.equal((await from(other, below(given, "aac-256/0.m4s"), { "cmcd-request": 'nor="2.m4s"' })).status, 200);
  await until(() => media("aac-256").includes("80700-30001"), "segment 2");
});

test("nothing is fetched ahead that the token does not allow, nor beyond the end, nor what is not media", async () => {
  const [given, host] = [await play({ plan: "free" }), newHost()];
  const hints = ['nor="../aac-256/1.m4s"', 'nor="../../other/aac-64/1.m4s"', 'nor="https://elsewhere.example/1.m4s"', 'nor="99.m4s"', 'nor="../aac-64.m3u8"', "nor=1", "\u0001"];
  for (const hint of hints) {
    const answer = await from(host, `${below(given, "aac-64/2.m4s")}?CMCD=${encodeURIComponent(hint)}`);
    assert.equal(answer.status, 200, hint);
  }
  await until(() => isHit(host, below(given, "aac-64/2.m4s")), "the segment itself");
  assert.deepEqual([...new Set(media("aac-64"))], ["80700-30001"]);
  assert.deepEqual(media("aac-256"), []);
  assert.equal(gateway.count("/v1/"), 0);
});

test("an answer neither waits for what is fetched behind it nor fails with it", async () => {
  const [given, host] = [await play(), newHost()];
  gateway.held = `/internal/media/${"ab".repeat(16)}/aac-64/20700-`;
  assert.equal((await from(host, below(given, "aac-64/0.m4s"))).status, 200);
  await until(() => gateway.waiting() === 1, "the fetch of segment 1, which gets no answer");
  assert.equal((await from(host, below(given, "aac-64/0.m4s"))).status, 200);
  assert.equal(gateway.waiting(), 1, "it is not fetched again");
  gateway.release();
});

test("a card of a quarter minute is answered at once and renewed behind the answer, once at a time", async () => {
  const host = newHost();
  const at = () => manifest({ headers: { host } });
  assert.equal((await at()).status, 200);
  gateway.card = { state: "taken_down", territories: null };
  gateway.held = "/internal/cards/";
  await until(async () => {
    assert.equal((await at()).status, 200);
    return gateway.waiting() > 0;
  }, "the renewal", 30_000);
  await Promise.all(Array.from({ length: 20 }, async () => assert.equal((await at()).status, 200)));
  assert.equal(gateway.waiting(), 1);
  gateway.release();
  await until(async () => (await at()).status === 410, "what the renewal brought");
});

test("an error is repeated for no more than a second", async () => {
  const track = "01931a2b-3c4d-7e5f-8a6b-00000000beef";
  const asked = () => gateway.count(`/internal/cards/${track}`);
  const refuse = async () => assert.deepEqual(code(await manifest({ track })), [404, "no_such_track"]);
  await refuse();
  for (let n = 0; n < 10; n += 1) await refuse();
  assert.ok(asked() < 11, "a burst is not passed on whole");
  const before_ = asked();
  await until(async () => {
    await refuse();
    return asked() > before_;
  }, "the next question");
});

test("two hosts share nothing: neither media, nor sheets, nor cards", async () => {
  const [given, one, two] = [await play(), newHost(), newHost()];
  const url = below(given, "aac-256/1.m4s");
  assert.match((await from(one, url)).headers["cache-status"], /fwd=miss/);
  await until(() => isHit(one, url), "a hit on one host");
  assert.equal(await isHit(one.toUpperCase(), url), true, "a host has one spelling");
  assert.match((await from(two, url)).headers["cache-status"], /fwd=miss/);
  const fetched = (prefix) => gateway.count(prefix);
  const before_ = [fetched("/internal/cards/"), fetched("/internal/sheets/")];
  for (const host of [newHost(), newHost()]) assert.equal((await manifest({ headers: { host } })).status, 200);
  assert.deepEqual([fetched("/internal/cards/"), fetched("/internal/sheets/")], before_.map((count) => count + 2));
});

/** Headers that caches have keyed, varied, or been poisoned by, and many that nobody has thought of. */
const NAMES = [
  ..."accept accept-charset accept-datetime accept-encoding accept-language accept-patch age allow alt-svc alt-used authorization cache-control cdn-cache-control cdn-loop client-ip cloudfront-viewer-country cmcd-object cmcd-request cmcd-session cmcd-status content-disposition content-encoding content-language content-location content-md5 content-type cookie cookie2 correlation-id date device-memory dnt downlink dpr early-data ect etag expires forwarded from front-end-https if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards origin p3p pragma prefer priority proxy proxy-authorization proxy-connection purpose range referer referrer retry-after rtt save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc sec-purpose server-timing service-worker set-cookie sourcemap surrogate-capability surrogate-control surrogate-key timing-allow-origin tk true-client-ip upgrade-insecure-requests user-agent vary via viewport-width want-digest warning width".split(" "),
  ..."cf-connecting-ip cf-connecting-ipv6 cf-ew-via cf-ipcountry cf-ray cf-visitor cf-worker cf-cache-status cf-pseudo-ipv4 cf-access-jwt-assertion fastly-client-ip fastly-ff fastly-ssl akamai-origin-hop akamai-edgescape incap-client-ip edge-control antiphon-edge antiphon-fetched-at antiphon-cf antiphon-host antiphon-version antiphon-territory antiphon-internal-account antiphon-internal-role antiphon-play antiphon-ticket".split(" "),
  ..."host-override http-host original-host original-url rewrite-url forwarded-host forwarded-for forwarded-proto forwarded-port forwarded-prefix forwarded-scheme forwarded-server forwarded-ssl forwarded-path forwarded-client-cert forwarded-by http-method-override method-override http-method original-method real-ip client-ip cluster-client-ip remote-ip remote-addr remote-user originating-ip custom-ip-authorization wap-profile att-deviceid requested-with request-id correlation-id amzn-trace-id amz-cf-id amz-website-redirect-location b3-traceid b3-spanid csrf-token csrftoken xsrf-token frame-options dns-prefetch-control ua-compatible robots-tag powered-by timer varnish cache cache-hits cache-key cache-status served-by backend backend-server origin-server tenant tenant-id org-id api-key api-version auth-token auth-user auth-email user-id user account session session-id country country-code geo-country geoip-country region language locale debug debug-key trace test env stage feature variant experiment ab-test bucket device device-type mobile platform app app-version build client client-id client-version sdk scheme https ssl tls ssl-client-cert ssl-client-verify url uri path query script-name path-info document-root accel-redirect accel-expires accel-buffering accel-limit-rate sendfile lighttpd-send-file proxy-url proxy-host proxy-user-ip middleware-subrequest nextjs-cache vercel-id netlify-original-pathname wf-region shopify-shop".split(" ").map((name) => `x-${name}`),
  ...Array.from({ length: 80 }, (_, n) => `x-unheard-of-${n}`),
];

test("no header of one client changes what another is answered from the cache, on either of two hosts", { timeout: 240_000 }, async () => {
  const names = [...new Set(NAMES)];
  assert.ok(names.length >= 300, `${names.length} names`);
  const pages = [newHost(), newHost()];
  const given = await Promise.all(pages.map((host) => manifest({ headers: { host } }).then((answer) => answer.json())));
  const objects = [["segment", (n) => below(given[n], "aac-64/1.m4s")], ["playlist", (n) => below(given[n], "aac-64.m3u8")], ["multivariant", (n) => given[n].playlist_url]];
  const told = (answer) => [answer.status, answer.headers["content-type"], answer.headers.etag, answer.headers["content-encoding"], answer.text()];
  const clean = new Map();
  for (const n of [0, 1]) for (const [name, path] of objects) {
    await from(pages[n], path(n));
    if (name === "segment") await until(() => isHit(pages[n], path(n)), "a hit");
    clean.set(`${n} ${name}`, told(await from(pages[n], path(n))));
  }

  // One client sends the header first, where nothing is cached yet and where it is; another, who sends none, is answered as before.
  const values = { range: "bytes=0-9", "if-none-match": "*", "accept-encoding": "gzip", connection: "close" };
  for (const header of names) {
    const value = values[header] ?? "poisoned.example";
    for (const n of [0, 1]) {
      await Promise.all(objects.map(async ([, path]) => from(pages[n], path(n), { [header]: value })));
    }
  }
  for (const n of [0, 1]) for (const [name, path] of objects) assert.deepEqual(told(await from(pages[n], path(n))), clean.get(`${n} ${name}`), name);

  // A miss under a header fills the entry that everybody is answered from, with the same bytes.
  const bytes = origin.segment("aac-128", 1);
  for (const header of names) {
    const host = newHost();
    const url = below(given[0], "aac-128/1.m4s");
    const filled = await from(host, url, { [header]: values[header] ?? "poisoned.example" });
    assert.ok(filled.status < 500, header);
    const other = await from(host, url);
    assert.deepEqual([other.status, Buffer.compare(other.bytes, bytes)], [200, 0], header);
    assert.equal(JSON.stringify(other.headers).includes("poisoned"), false, header);
  }

  // Cards and sheets: what a manifest says depends on the session and the evidence, and on nothing that another client sent.
  const decided = async (host, headers) => {
    const { start, allowed, version, duration_ms, loudness } = (await manifest({ headers: { host, ...headers } })).json();
    return JSON.stringify({ start, allowed, version, duration_ms, loudness });
  };
  const expected = await decided(newHost(), {});
  for (const header of names.filter((header) => !["authorization", "accept"].includes(header))) {
    const host = newHost();
    await manifest({ headers: { host, [header]: "poisoned.example" } });
    assert.equal(await decided(host, {}), expected, header);
  }
  assert.equal(gateway.requests.filter(({ path, headers }) => path.startsWith("/internal/") && JSON.stringify(headers).includes("poisoned")).length, 0);
  assert.notEqual(token(given[0]), token(given[1]));
});
