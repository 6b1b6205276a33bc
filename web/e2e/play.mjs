// The page in a real browser, against a real system: log in, find a song, hear 35 seconds of it, and see the listen counted. With
// ANTIPHON_KILL_EDGE=1 first the gateway and then the edge die mid-song, and the music must go on beyond what was buffered.
//
//   ANTIPHON_RUN_JSON=.antiphon/run.json node e2e/play.mjs
import assert from 'node:assert/strict';
import { AxeBuilder } from '@axe-core/playwright';
import { enter, step, tell } from './browser.mjs';
import { api, backUp, holdDown, logIn, longestTrack, run, until } from './system.mjs';

const HEARD_MS = 35_000;
/** Seconds the player may buffer ahead, so that a dead edge is felt soon. */
const MAX_BUFFER_S = 6;
/** A minute of music. */
const KEPT_SEGMENTS = 10;

await tell('play', async (page) => {
  /** Requests for segments, by the base they went to. */
  const segments = [];
  page.on('requestfinished', (request) => {
    const url = new URL(request.url());
    if (url.pathname.endsWith('.m4s')) segments.push({ base: url.origin, path: url.pathname, at: Date.now() });
  });
  /** The play under way, from the manifest that the page was given. */
  let play = null;
  page.on('response', async (response) => {
    if (!/\/v1\/tracks\/[^/]+\/manifest/.test(response.url()) || !response.ok()) return;
    play = (await response.json().catch(() => null))?.play ?? play;
  });

  const audio = () =>
    page.evaluate(() => {
      const element = document.querySelector('audio[data-heard]');
      const ends = Array.from({ length: element.buffered.length }, (_, i) => element.buffered.end(i));
      return { at: element.currentTime, bufferedTo: Math.max(0, ...ends), paused: element.paused, volume: element.volume };
    });

  /** Someone else has heard the beginning of this song, so the edge keeps it, in each quality. */
  const keptByTheEdge = async () => {
    const { playlist_url, allowed } = await api(`/v1/tracks/${track.id}/manifest`, { token });
    const base = run.edge + playlist_url.replace(/[^/]*$/, '');
    const names = allowed.flatMap((rung) => ['init.mp4', ...Array.from({ length: KEPT_SEGMENTS }, (_, n) => `${n}.m4s`)].map((name) => `${base}${rung}/${name}`));
    for (const name of names) await (await fetch(name)).arrayBuffer();
    await Promise.all(allowed.map(async (rung) => await (await fetch(`${base}${rung}.m3u8`)).text()));
  };

  const token = await logIn(run.accounts.listener);
  const track = await longestTrack(token);
  const listener = page.getByRole('region', { name: 'Player' });

  await step('a listener logs in', async () => {
    await enter(page, `${run.page}?maxBuffer=${MAX_BUFFER_S}`, run.accounts.listener);
  });

  await step('the song is found as it is typed', async () => {
    await page.locator('#search').pressSequentially(track.title, { delay: 40 });
    await page.keyboard.press('Escape');
    await page.locator(`[data-tracks] [data-track="${track.id}"]`).waitFor({ timeout: 15_000 });
  });

  await step('it plays, on a quality that says why', async () => {
    await page.locator(`[data-tracks] [data-track="${track.id}"]`).click();
    await until('sound', async () => (await audio()).at > 0.5, { within_ms: 20_000 });
    const reason = await page.locator('[data-reason]').textContent();
    assert.match(reason ?? '', /\w+/);
    assert.ok(await listener.locator('[data-rung]').getAttribute('data-rung'));
  });

  await step('anyone can use it: no violation of WCAG 2.2 AA, wide or narrow', async () => {
    for (const width of [1280, 320]) {
      await page.setViewportSize({ width, height: 720 });
      const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']).analyze();
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${width} px: it scrolls sideways`);
    }
    await page.setViewportSize({ width: 1280, height: 720 });
  });

  if (process.env.ANTIPHON_KILL_EDGE === '1') {
    await keptByTheEdge();
    const release = holdDown('gateway');
    try {
      await step('the gateway dies mid-song and the music goes on, from what the edge has', async () => {
        const [before, killed] = [await audio(), Date.now()];
        await until('the playhead beyond what was buffered', async () => (await audio()).at > before.bufferedTo + 2, { within_ms: 30_000, every_ms: 100 });
        const asked = segments.filter(({ at }) => at >= killed);
        assert.deepEqual([...new Set(asked.map(({ base }) => base))], [run.edge]);
      });
    } finally {
      release();
      await backUp('gateway');
    }
  }

  await step(`${HEARD_MS / 1000} seconds are heard in as many`, async () => {
    const from = await audio();
    const begun = Date.now();
    await until('35 s heard', async () => (await audio()).at >= HEARD_MS / 1000, { within_ms: HEARD_MS + 15_000 });
    const heard_s = (await audio()).at - from.at;
    assert.ok(heard_s >= ((Date.now() - begun) / 1000) * 0.9, `${heard_s} s of media in ${Date.now() - begun} ms: the music stalled`);
    await listener.getByRole('button', { name: 'Pause' }).click();
  });

  await step('the listen is in the history, and counts', async () => {
    const counted = await until(
      'the play, provisional, with 30 s or more, and receipts for them',
      async () => {
        const { items } = await api('/v1/me/history', { token });
        return items.find((item) => item.play_id === play?.id && item.played_ms >= 30_000 && item.state === 'provisional' && item.corroborated);
      },
      { within_ms: 60_000, every_ms: 1_000 },
    );
    assert.equal(typeof counted.track === 'string' ? counted.track : counted.track.id, track.id);
    assert.ok(counted.played_ms <= HEARD_MS + 5_000, `${counted.played_ms} ms were credited`);
  });

  await step('nothing waits unsent', async () => {
    const waiting = () =>
      page.evaluate(
        () =>
          new Promise((resolve, reject) => {
            const opening = indexedDB.open('antiphon');
            opening.onerror = () => reject(opening.error);
            opening.onsuccess = () => {
              const count = opening.result.transaction('events').objectStore('events').count();
              count.onsuccess = () => resolve(count.result);
            };
          }),
      );
    await until('an empty queue', async () => (await waiting()) === 0, { within_ms: 10_000 });
  });

  await step('a reload resumes the song where it was', async () => {
    const [before, playBefore] = [(await audio()).at, play?.id];
    await page.reload();
    await listener.getByRole('button', { name: 'Play', exact: true }).click();
    await until('sound after the reload', async () => (await audio()).at > before, { within_ms: 20_000 });
    assert.ok((await audio()).at < before + 10, 'it did not begin where it was');
    assert.equal(play?.id, playBefore, 'the play went on as another play');
  });

  if (process.env.ANTIPHON_KILL_EDGE === '1') {
    const gateway = new URL(run.gateway).origin;
    const release = holdDown('edge');
    try {
      await step('the edge dies mid-song and the music goes on', async () => {
        const [before, killed] = [await audio(), Date.now()];
        const beyond = before.bufferedTo + 4;
        assert.ok(beyond < track.duration_ms / 1000, `the song (${track.duration_ms} ms) is too short for this test`);
        await until(`the playhead beyond ${beyond.toFixed(1)} s`, async () => (await audio()).at > beyond, { within_ms: 40_000, every_ms: 100 });
        const silent_s = Math.max(0, (Date.now() - killed) / 1000 - (beyond - before.at));
        const carried = segments.filter(({ base, at }) => base === gateway && at >= killed);
        assert.ok(carried.length > 0, 'no segment came from the gateway');
        console.log(`     ${carried.length} segments from the gateway; silent for at most ${silent_s.toFixed(1)} s`);
      });

      await step('what was heard without the edge is acknowledged by the gateway', async () => {
        const acknowledged = page.waitForResponse((answer) => answer.url() === `${gateway}/v1/me/play-event` && answer.status() === 202, { timeout: 20_000 });
        await listener.getByRole('button', { name: 'Pause' }).click();
        await acknowledged;
      });
    } finally {
      release();
    }

    await step('all of it is counted once the edge is back, what the edge had acknowledged too', async () => {
      const heard_ms = (await audio()).at * 1000;
      const { items } = await until(
        `${Math.round(heard_ms)} ms in the history`,
        async () => {
          const history = await api('/v1/me/history', { token, base: run.gateway });
          return history.items.some(({ play_id, played_ms }) => play_id === play?.id && played_ms >= heard_ms - 1_000) && history;
        },
        { within_ms: 60_000, every_ms: 1_000 },
      );
      const { played_ms } = items.find(({ play_id }) => play_id === play?.id);
      assert.ok(played_ms <= heard_ms + 1_000, `${played_ms} ms counted, ${heard_ms} ms heard`);
    });
  }
});
