// Players that are not ours play what the service makes: hls.js and Shaka Player, stock, from index.m3u8. Every rung is heard, seeks land, switches
// go up and down, and the player has nothing to complain of; and hls.js reports what it plays. With ANTIPHON_KILL_EDGE=1 the edge then dies, and content
// steering saves the song.
//
//   ANTIPHON_RUN_JSON=.antiphon/run.json node e2e/stock.mjs [hls|shaka|reports|steering ...]
import assert from 'node:assert/strict';
import { step, tell } from './browser.mjs';
import { servePlayers } from './players.mjs';
import { reports } from './reports.mjs';
import { api, backUp, holdDown, logIn, longestTrack, run, until } from './system.mjs';

/** The music runs this much faster, so that boundaries come sooner. */
const RATE = 3;
/** Held ahead before it does, s. */
const AHEAD_S = 8;
/** Boundaries of rungs lie within a sample of each other. */
const SLACK_S = 0.05;

/** The line on which the edge dies. */
const LINE_BPS = 800_000;
/** What a player holds when it does, s. */
const IN_HAND_S = 6;

const token = await logIn(run.accounts.listener);
const track = await longestTrack(token);
const asked = process.argv.slice(2);
const wanted = (name) => asked.length === 0 || asked.includes(name);

/** A play of the track: its plain playlist, its rungs, smallest first, and where each segment begins, s. */
async function newPlay() {
  const manifest = await api(`/v1/tracks/${track.id}/manifest`, { token });
  const durations = [...manifest.first.media_playlist.matchAll(/#EXTINF:([\d.]+)/g)].map(([, seconds]) => Number(seconds));
  const begins = durations.map((_, n) => durations.slice(0, n).reduce((sum, seconds) => sum + seconds, 0));
  return { url: run.edge + manifest.playlist_url, rungs: manifest.allowed, begins };
}

/** A page with one stock player on a new play, and the segments that it asked for. `line_bps` narrows its line to the service. */
async function open(page, name, origin, line_bps = null) {
  const segments = [];
  const complaints = [];
  page.on('console', (message) => ['warning', 'error'].includes(message.type()) && complaints.push(message.text()));
  page.on('request', (request) => {
    const url = new URL(request.url());
    const [, rung, n] = /\/([^/]+)\/(\d+)\.m4s$/.exec(url.pathname) ?? [];
    if (rung) segments.push({ base: url.origin, rung, n: Number(n), at: Date.now() });
  });
  const play = await newPlay();
  await page.goto(`${origin}/${name}`);
  if (line_bps !== null) await narrow(page, line_bps / 8);
  await page.evaluate(([name, url]) => window.stock.start(name, url), [name, play.url]);
  const state = () => page.evaluate(() => window.stock.state());
  const beyond = (at, within_ms = 20_000) =>
    until(`the playhead beyond ${at.toFixed(1)} s`, async () => (await state()).at > at, { within_ms, every_ms: 50 });
  const ahead = async () => {
    const { at, ranges } = await state();
    return (around(ranges, at)?.[1] ?? at) - at;
  };
  return { ...play, segments, complaints, state, beyond, ahead };
}

async function narrow(page, bytes_a_second) {
  const line = await page.context().newCDPSession(page);
  await line.send('Network.enable');
  await line.send('Network.emulateNetworkConditions', { offline: false, latency: 20, downloadThroughput: bytes_a_second, uploadThroughput: bytes_a_second });
}

const around = (ranges, at) => ranges.find(([start, end]) => start <= at && at <= end);

/** From `from` to the playhead there is one range: no hole at any boundary between. */
async function oneRange({ state }, from) {
  const { at, ranges } = await state();
  assert.ok((around(ranges, at)?.[0] ?? Infinity) <= from + SLACK_S, `the playhead is at ${at}, buffered is ${JSON.stringify(ranges)}, and ${from} was heard`);
}

function story(name, origin) {
  return async (page) => {
    const player = await step(`${name} plays from index.m3u8`, async () => {
      const player = await open(page, name, origin);
      await player.beyond(0.5);
      assert.equal((await page.evaluate(() => window.stock.player.bandwidths())).length, player.rungs.length, 'each rung is one choice');
      return player;
    });

    await step(`${name} seeks ahead and back`, async () => {
      for (const to of [(track.duration_ms / 1000) * 0.6, 5]) {
        await page.evaluate((to) => (document.querySelector('audio').currentTime = to), to);
        await until(`sound at ${to} s`, async () => {
          const { at, seeking } = await player.state();
          return !seeking && at > to + 1 && at < to + 20;
        }, { within_ms: 15_000, every_ms: 50 });
      }
    });

    await until('a buffer to play faster from', async () => (await player.ahead()) > AHEAD_S, { within_ms: 15_000, every_ms: 50 });
    await page.evaluate((rate) => (document.querySelector('audio').playbackRate = rate), RATE);

    const upAndDown = [...player.rungs, ...player.rungs.slice(0, 1)];
    await step(`${name} is heard on ${upAndDown.join(', ')} without a hole between them`, async () => {
      for (const rung of upAndDown) {
        const [before, from] = [player.segments.length, (await player.state()).at];
        await page.evaluate((index) => window.stock.player.choose(index), player.rungs.indexOf(rung));
        const first = await until(`a segment of ${rung}`, async () => player.segments.slice(before).find((asked) => asked.rung === rung), { within_ms: 15_000, every_ms: 20 });
        await player.beyond(player.begins[first.n] + 1);
        await oneRange(player, from);
      }
    });

    await step(`${name} has no warning, no error and no stall to tell of`, async () => {
      const { said, dry } = await player.state();
      assert.deepEqual({ said, dry, complaints: player.complaints }, { said: [], dry: [], complaints: [] });
    });
  };
}

/** Content steering: the playlist names the gateway as the other pathway, and a player that knows the draft takes it when the edge is gone. */
function steering(origin) {
  return async (page) => {
    const player = await step('hls plays from the edge, on a line too narrow to bring the whole song at once', async () => {
      const player = await open(page, 'hls', origin, LINE_BPS);
      await player.beyond(0.5);
      await until(`${IN_HAND_S} s in hand`, async () => (await player.ahead()) > IN_HAND_S, { within_ms: 20_000, every_ms: 50 });
      assert.ok(player.segments.every(({ base }) => base === run.edge));
      return player;
    });

    const release = holdDown('edge');
    try {
      await step('the edge dies mid-song, and the music goes on along the other pathway', async () => {
        const killed = Date.now();
        const { at, ranges } = await player.state();
        const end = around(ranges, at)[1];
        assert.ok(end + 5 < track.duration_ms / 1000, `the song (${track.duration_ms} ms) is too short for this test`);
        await player.beyond(end + 2, 60_000);
        await oneRange(player, at);
        const { dry, said } = await player.state();
        assert.deepEqual(dry, [], 'the music stalled');
        assert.ok(!said.some((words) => words.includes('fatal')), said.join('; '));
        const saved = player.segments.find(({ base }) => base === new URL(run.gateway).origin);
        console.log(`     the gateway's first segment was asked for ${((saved.at - killed) / 1000).toFixed(1)} s after the edge died, with ${(end - at).toFixed(0)} s in hand`);
      });
    } finally {
      release();
      await backUp('edge');
    }
  };
}

const { origin, close } = await servePlayers();
// Side by side, because most of it is listening.
await tell('stock', async (page) => {
  const stories = { hls: story('hls', origin), shaka: story('shaka', origin), reports: reports(origin) };
  const names = Object.keys(stories).filter(wanted);
  const told = await Promise.allSettled(names.map(async (name, n) => await stories[name](n === 0 ? page : await page.context().newPage())));
  for (const { reason } of told) if (reason) throw reason;
});
if (wanted('steering') && process.env.ANTIPHON_KILL_EDGE === '1') await tell('stock-steering', steering(origin));
close();
