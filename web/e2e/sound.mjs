// How soon it sounds: two requests from the click to the first sound, none between one song and the next, and a quality chosen by what was measured.
//
//   ANTIPHON_RUN_JSON=.antiphon/run.json node e2e/sound.mjs
import assert from 'node:assert/strict';
import { AxeBuilder } from '@axe-core/playwright';
import { enter, step, tell } from './browser.mjs';
import { run, until } from './system.mjs';

/** The song is left to play from this long before its end. */
const BEFORE_END_S = 7;

/** What a request asks for, whichever song, play and quality it is for. */
const named = (url) => new URL(url).pathname.replace(/^\/v1\/media\/[^/]+\//, '').replace(/[0-9a-f-]{36}/, '{id}').replace(/^aac-\d+/, '{rung}');
/** The browser's own wish, whenever the title changes. */
const ICON = '/favicon.svg';

await tell('sound', async (page) => {
  /** Requests in the order they were made, each with when it was made and when its answer was there. */
  const requests = [];
  page.on('request', (request) => requests.push({ request, name: named(request.url()), begun: Date.now(), ended: Infinity }));
  page.on('requestfinished', (request) => (requests.find((asked) => asked.request === request).ended = Date.now()));
  const manifests = () => requests.filter(({ name }) => name === '/v1/tracks/{id}/manifest');
  const evidence = ({ request }) => new URL(request.url()).searchParams.get('CMCD');
  const heard = (read, given) => page.locator('audio[data-heard]').evaluate(read, given);
  const listener = page.getByRole('region', { name: 'Player' });

  await step('a listener logs in, and everything there is to choose from is listed', async () => {
    await enter(page, run.page, run.accounts.listener);
    await page.locator('[data-tracks] [data-track]').nth(1).waitFor();
    await page.waitForLoadState('networkidle');
  });

  await step('from the click to the first sound: one manifest, one piece of media, whatever becomes of all other requests', async () => {
    const held = [];
    await page.route('**/v1/**', (route) => {
      const { pathname } = new URL(route.request().url());
      return /\/manifest$|\/first\.mp4$/.test(pathname) ? route.continue() : void held.push(route);
    });
    const before = requests.length;
    await page.locator('[data-tracks] [data-track]').first().click();
    await until('sound', async () => await heard((audio) => audio.currentTime > 0.2), { within_ms: 20_000, every_ms: 20 });
    const asked = requests.slice(before).filter(({ name }) => name !== ICON);
    const answered = asked.filter(({ ended }) => ended < Infinity);
    assert.deepEqual(answered.map(({ name }) => name), ['/v1/tracks/{id}/manifest', '{rung}/first.mp4']);
    const first = answered[1];
    assert.deepEqual(asked.filter(({ begun }) => begun < first.ended), answered, 'another request was made before the first sound was there');
    console.log(`     asked for meanwhile, and held back: ${asked.filter((one) => !answered.includes(one)).map(({ name }) => name).join(', ') || 'nothing'}`);
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    await Promise.allSettled(held.map((route) => route.continue()));
  });

  await step('the next song is ready before this one ends, and begins without a request', async () => {
    // Each element is watched, whoever is heard: where its song will end, and where it began, on one clock.
    await page.evaluate(() => {
      window.songs = Array.from(document.querySelectorAll('audio'), (audio) => {
        const song = { began: null, ends: null, wall: null };
        audio.addEventListener('timeupdate', () => {
          const { currentTime, duration, paused } = audio;
          if (paused || !currentTime || !duration) return;
          const now = performance.now();
          song.began ??= now - currentTime * 1000;
          song.ends = now + (duration - currentTime) * 1000;
          song.wall = Date.now() + (duration - currentTime) * 1000;
        });
        return song;
      });
    });
    const [before, title] = [manifests().length, await listener.locator('.title').textContent()];
    const old = await page.locator('audio').evaluateAll((audios) => audios.findIndex((audio) => 'heard' in audio.dataset));
    await heard((audio, seconds) => (audio.currentTime = audio.duration - seconds), BEFORE_END_S);
    const songs = await until('the next song', async () => {
      const songs = await page.evaluate(() => window.songs);
      return songs[1 - old].began !== null && (await heard((audio) => audio.currentTime > 1)) && songs;
    }, { within_ms: BEFORE_END_S * 1000 + 15_000, every_ms: 50 });
    const [ending, beginning] = [songs[old], songs[1 - old]];
    const [manifest] = manifests().slice(before);
    const first = requests.find(({ name, begun }) => name.endsWith('/first.mp4') && begun >= manifest.begun);
    assert.ok(manifest.ended < ending.wall && first.ended < ending.wall, 'it was fetched too late');
    assert.equal(manifests().length, before + 1, 'the song was asked for once');
    assert.notEqual(await listener.locator('.title').textContent(), title);
    await page.locator('[data-status="playing"]').waitFor();
    console.log(`     between the songs: ${(beginning.began - ending.ends).toFixed(0)} ms`);
    assert.match(evidence(manifest), /^bl=\d+,mtp=\d+00$/, 'what was measured is said');
  });

  await step('a pointer on "next" is enough for the song to be there when it is pressed', async () => {
    const next = listener.getByRole('button', { name: 'Next track' });
    const [before, title] = [manifests().length, await listener.locator('.title').textContent()];
    await next.hover();
    await until('its first media', async () => requests.findLast(({ name }) => name.endsWith('/first.mp4'))?.ended < Infinity && manifests().length > before, { within_ms: 10_000, every_ms: 20 });
    await next.click();
    await until('sound', async () => (await heard((audio) => audio.currentTime)) < 5 && (await listener.getAttribute('data-status')) === 'playing', { within_ms: 10_000, every_ms: 20 });
    assert.notEqual(await listener.locator('.title').textContent(), title);
    assert.equal(manifests().length, before + 1, 'it was asked for again');
  });

  await step('data saver: the edge is asked for little, and gives the smallest quality', async () => {
    await listener.locator('[data-rung]').click();
    await listener.getByLabel('Data saver').check();
    const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']).analyze();
    assert.deepEqual(violations.map(({ id }) => id), []);
    const answered = page.waitForResponse((answer) => named(answer.url()) === '/v1/tracks/{id}/manifest');
    await listener.getByRole('button', { name: 'Next track' }).click();
    const answer = await answered;
    assert.match(evidence({ request: answer.request() }), /,rtp=100$/);
    const { allowed, reason } = await answer.json();
    assert.deepEqual(allowed, ['aac-64'], reason);
    await listener.locator('[data-rung="aac-64"]').waitFor();
    assert.equal(await page.locator('[data-reason]').textContent(), reason);
  });

  await step('data saver off: the same play goes on, and may use more', async () => {
    const { play } = await (await manifests().at(-1).request.response()).json();
    const answered = page.waitForResponse((answer) => named(answer.url()) === '/v1/tracks/{id}/manifest');
    await listener.locator('[data-rung]').click();
    await listener.getByLabel('Data saver').uncheck();
    const answer = await answered;
    const renewed = await answer.json();
    assert.doesNotMatch(evidence({ request: answer.request() }), /rtp/);
    assert.equal(renewed.play.id, play.id);
    assert.ok(renewed.allowed.length > 1, renewed.reason);
    const at = await heard((audio) => audio.currentTime);
    await until('the music going on', async () => (await heard((audio) => audio.currentTime)) > at + 1, { within_ms: 15_000, every_ms: 50 });
  });
});
