// hls.js, unmodified, tells the service by itself what it played: CMCD version 2 in event mode, configured as the README shows. Its posts are held to
// the standard by the standard body's own library, and 35 s of two tracks make two listens. With ANTIPHON_CMCD_BODIES=FILE the posts are kept there:
// protocol/tests/bodies has some.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { validateCmcdEventReport } from '@svta/cml-cmcd';
import { step } from './browser.mjs';
import { allTracks, api, run, signUp, until } from './system.mjs';

const HEARD_S = 35;
/** A busy machine stalls; a stall is told (`sta=w`) and not counted. */
const PATIENCE_MS = HEARD_S * 1000 + 60_000;

export function reports(origin) {
  return async (page) => {
    const token = await signUp('listener');
    const tracks = (await allTracks(token)).filter(({ duration_ms }) => duration_ms > (HEARD_S + 3) * 1000).slice(0, 2);
    assert.equal(tracks.length, 2, `the catalogue has two tracks longer than ${HEARD_S} s`);
    const posted = await listenIn(page);
    const plays = [];

    await page.goto(`${origin}/hls`);
    for (const [n, track] of tracks.entries()) {
      await step(`hls.js reports ${HEARD_S} s of track ${n + 1}`, async () => {
        const { play, playlist_url } = await api(`/v1/tracks/${track.id}/manifest`, { token });
        plays.push(play.id);
        const cmcd = { version: 2, eventTargets: [{ url: `${run.edge}/v1/me/play-event?ticket=${play.ticket}`, events: ['ps', 't', 'e'] }] };
        await page.evaluate(([url, cmcd]) => window.stock.start('hls', url, { cmcd }), [run.edge + playlist_url, cmcd]);
        const at = async () => (await page.evaluate(() => window.stock.state())).at;
        await until(`${HEARD_S} s heard`, async () => (await at()) > HEARD_S && (await at()) < HEARD_S + 5, { within_ms: PATIENCE_MS, every_ms: 200 });
      });
    }
    await page.evaluate(() => document.querySelector('audio').pause());

    await step('two listens are in the history, and nothing else', async () => {
      const items = await until('both plays, provisional', async () => {
        const { items } = await api('/v1/me/history', { token });
        return items.length === 2 && items.every(({ state }) => state === 'provisional') && items;
      }, { within_ms: 30_000 });
      assert.deepEqual(new Set(items.map(({ play_id }) => play_id)), new Set(plays));
      for (const { played_ms } of items) assert.ok(played_ms >= 30_000 && played_ms <= (HEARD_S + 6) * 1000, `${played_ms} ms are credited`);
    });

    await step('each post is CMCD by the standard, and each record of it was taken', async () => {
      const posts = await until('an answer to each post', async () => {
        const posts = await posted();
        return posts.every(({ status }) => status !== undefined) && posts;
      }, { within_ms: 5_000 });
      keep(posts);
      assert.ok(posts.length >= 8, `${posts.length} posts`);
      for (const { url, method, headers, body, status, answer } of posts) {
        // hls.js 1.7 ends each post with a line feed, which CTA-5004-B wants between records only; the service takes both.
        const { valid, issues } = validateCmcdEventReport({ url, method, headers, body: body.replace(/\n$/, '') });
        assert.ok(valid, `${body}: ${JSON.stringify(issues)}`);
        const records = body.trim().split('\n').length;
        assert.deepEqual({ status, ...answer }, { status: 202, accepted: records, duplicate: 0, rejected: [], stop: null }, body);
      }
    });
  };
}

/** What the page posts to the service, with the answers: hls.js leaves them unread, and what is unread the browser does not show. */
async function listenIn(page) {
  await page.addInitScript(() => {
    const fetch = window.fetch;
    window.posts = [];
    window.fetch = async (url, init) => {
      if (!String(url).includes('/v1/me/play-event')) return await fetch(url, init);
      const post = { url: String(url), method: init.method, headers: init.headers, body: init.body };
      window.posts.push(post);
      const response = await fetch(url, init);
      post.answer = await response.clone().json();
      post.status = response.status;
      return response;
    };
  });
  return async () => await page.evaluate(() => window.posts);
}

function keep(posts) {
  const file = process.env.ANTIPHON_CMCD_BODIES;
  if (file) writeFileSync(file, posts.map(({ body }) => body).join(''));
}
