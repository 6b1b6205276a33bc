// A listener's evening: search, press play, hear the first segments, and let the play be counted.
//
//   loadtest-runner run loadtest/listener.js -e BASE_URL=http://127.0.0.1:8787      (or: k6 run, the same)
//
// Open model: plays begin at RATE a second whatever the service does, so that a slow service is seen as slow and not as fewer listeners.
// lib/settings.js lists what can be set with -e.
import { check, fail, group } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { bearer, fresh, get, media, post } from './lib/api.js';
import { segments, variants } from './lib/hls.js';
import { Heartbeats, hear } from './lib/player.js';
import { settings } from './lib/settings.js';

/** From the press of play to the first segment in hand: manifest, playlists, init and segment, one after another. */
const toFirstSegment = new Trend('time_to_first_segment', true);
/** Segments that came later than the media before them lasted: silence for a listener. */
const rebuffers = new Counter('rebuffers');
const acknowledged = new Counter('events_acknowledged');
const playable = new Rate('plays_started');

export const options = {
  scenarios: {
    listeners: {
      executor: 'constant-arrival-rate',
      exec: 'listen',
      rate: settings.rate,
      timeUnit: '1s',
      duration: settings.duration,
      preAllocatedVUs: Math.min(10, settings.maxVus),
      maxVUs: settings.maxVus,
      gracefulStop: '60s',
    },
    searchers: {
      executor: 'constant-arrival-rate',
      exec: 'searchAsYouType',
      rate: Math.max(1, Math.ceil(settings.rate / 2)),
      timeUnit: '1s',
      duration: settings.duration,
      preAllocatedVUs: 2,
      maxVUs: Math.max(2, Math.ceil(settings.maxVus / 5)),
    },
  },
  thresholds: {
    http_req_failed: [{ threshold: 'rate<0.01', abortOnFail: true, delayAbortEval: '10s' }],
    'http_req_duration{name:manifest}': ['p(95)<200', 'p(99)<500'],
    'http_req_duration{name:playlist}': ['p(95)<150'],
    'http_req_waiting{name:segment}': ['p(95)<200'],
    'http_req_duration{name:play-event}': ['p(95)<250'],
    'http_req_duration{name:search}': ['p(95)<300'],
    'http_req_duration{name:suggest}': ['p(95)<200'],
    time_to_first_segment: ['p(95)<800'],
    checks: ['rate>0.99'],
    plays_started: ['rate>0.99'],
    events_acknowledged: ['count>0'],
    rebuffers: ['count<1'],
    dropped_iterations: ['count<1'],
  },
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
};

/** @typedef {{token: string, tracks: {id: string, title: string}[]}} Scene */

/** @returns {Scene} */
export function setup() {
  const token = logIn();
  const found = get('search', '/v1/search?q=&type=track&limit=100', bearer(token));
  /** @type {{items: {type: string, id: string, title: string}[]}} */
  const page = /** @type {any} */ (found.status === 200 ? found.json() : { items: [] });
  const tracks = page.items.filter((item) => item.type === 'track').map(({ id, title }) => ({ id, title }));
  if (tracks.length === 0) fail(`the catalogue at ${settings.baseUrl} has no track to play (search answered ${found.status})`);
  return { token, tracks };
}

function logIn() {
  let { email, password } = settings;
  if (!email) {
    email = `load-${fresh()}@example.com`;
    password = `pw-${fresh()}`;
    const made = post('sign-up', '/v1/accounts', { email, password, name: 'Load', role: 'listener', country: 'DE' });
    if (made.status !== 201) fail(`no account could be made: ${made.status} ${made.body}`);
  }
  const answer = post('log-in', '/v1/sessions', { email, password });
  if (answer.status !== 201) fail(`log in: ${answer.status} ${answer.body}`);
  return /** @type {any} */ (answer.json()).access_token;
}

/** @param {Scene} scene */
export function listen({ token, tracks }) {
  const track = tracks[Math.floor(Math.random() * tracks.length)];
  if (!track) return;
  const begun = Date.now();
  const manifest = group('press play', () => {
    const answer = get('manifest', `/v1/tracks/${track.id}/manifest`, bearer(token));
    const ok = check(answer, {
      'the manifest names a play': (r) => r.status === 200 && String(r.body).includes('"ticket"'),
      'the manifest is not cached': (r) => String(r.headers['Cache-Control']).includes('no-store'),
    });
    playable.add(ok);
    return ok ? /** @type {any} */ (answer.json()) : null;
  });
  if (!manifest) return;
  group('listen', () => hearSong(manifest, begun));
}

/** @param {any} manifest @param {number} begun */
function hearSong(manifest, begun) {
  const index = get('index', manifest.playlist_url);
  const rung = variants(String(index.body), manifest.playlist_url).find((url) => url.endsWith(`/${manifest.start}.m3u8`));
  if (!check(index, { 'the rung to start on is in the playlist': () => rung !== undefined }) || !rung) return;
  const playlist = get('playlist', rung);
  const song = segments(String(playlist.body), rung);
  check(playlist, { 'the playlist has segments and an end': (r) => song.media.length > 0 && String(r.body).includes('#EXT-X-ENDLIST') });
  check(media('init', song.init), { 'the init section is mp4': isMp4 });

  const beats = new Heartbeats(manifest.play);
  let heardMs = 0;
  song.media.slice(0, settings.segments).forEach(({ url, seconds }, number) => {
    const asked = Date.now();
    const segment = media('segment', url);
    check(segment, {
      'the segment is audio': isMp4,
      'the segment may be cached for ever': (r) => String(r.headers['Cache-Control']).includes('immutable'),
    });
    if (number === 0) {
      toFirstSegment.add(Date.now() - begun);
      acknowledge(beats, 'start', 0);
    } else if (settings.pace > 0 && Date.now() - asked > seconds * 1000) {
      rebuffers.add(1);
    }
    hear(seconds);
    heardMs += seconds * 1000;
    acknowledge(beats, 'progress', Math.min(heardMs, manifest.duration_ms));
  });
  acknowledge(beats, 'stop', beats.heardMs);
}

/** @param {Heartbeats} beats @param {string} kind @param {number} untilMs */
function acknowledge(beats, kind, untilMs) {
  const answer = beats.report(kind, untilMs);
  const kept = check(answer, {
    'the event is acknowledged': (r) => r.status === 202 && /** @type {any} */ (r.json()).rejected.length === 0,
  });
  if (kept) acknowledged.add(1);
}

/** A CMAF chunk or header: the second word of its first box is a type. @param {{status: number, body: any}} answer */
function isMp4({ status, body }) {
  if (status !== 200 || !(body instanceof ArrayBuffer) || body.byteLength < 8) return false;
  const type = String.fromCharCode(...new Uint8Array(body, 4, 4));
  return ['ftyp', 'styp', 'moof', 'sidx', 'prft', 'emsg'].includes(type);
}

/** @param {Scene} scene */
export function searchAsYouType({ token, tracks }) {
  const track = tracks[Math.floor(Math.random() * tracks.length)];
  if (!track) return;
  group('search', () => {
    const wanted = track.title.slice(0, 6);
    for (let length = 2; length < wanted.length; length += 2) {
      const answer = get('suggest', `/v1/search/suggest?q=${encodeURIComponent(wanted.slice(0, length))}`, bearer(token));
      check(answer, { 'suggestions come': (r) => r.status === 200 });
      hear(0.12);
    }
    const answer = get('search', `/v1/search?q=${encodeURIComponent(track.title)}&limit=20`, bearer(token));
    check(answer, {
      'the track is found by its title': (r) => r.status === 200 && /** @type {any} */ (r.json()).items.some((/** @type {any} */ item) => item.id === track.id),
    });
  });
}

/** @param {any} data */
export function handleSummary(data) {
  const lines = ['', `listener at ${settings.baseUrl}`, ''];
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [condition, { ok }] of Object.entries(/** @type {any} */ (metric).thresholds ?? {})) {
      lines.push(`  ${ok ? 'ok  ' : 'FAIL'} ${name} ${condition}`);
    }
  }
  lines.push('');
  for (const name of ['manifest', 'playlist', 'segment', 'play-event', 'search', 'suggest']) {
    const metric = data.metrics[`http_req_duration{name:${name}}`] ?? data.metrics[`http_req_waiting{name:${name}}`];
    if (metric) lines.push(`  ${name.padEnd(12)} p50 ${ms(metric.values.med)}  p95 ${ms(metric.values['p(95)'])}  p99 ${ms(metric.values['p(99)'])}`);
  }
  const started = data.metrics.plays_started?.values;
  if (started) lines.push('', `  ${started.passes} plays started, ${data.metrics.events_acknowledged?.values.count ?? 0} events acknowledged`, '');
  /** @type {Record<string, string>} */
  const outputs = { stdout: `${lines.join('\n')}\n` };
  if (__ENV.SUMMARY) outputs[__ENV.SUMMARY] = JSON.stringify(data, null, 2);
  return outputs;
}

/** @param {number} value */
const ms = (value) => `${value.toFixed(1)} ms`.padStart(10);
