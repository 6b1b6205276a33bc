// The studio in a real browser, against a real system: an artist uploads a song, watches it being made, and anyone can find and play it.
//
//   ANTIPHON_RUN_JSON=.antiphon/run.json node e2e/publish.mjs
import assert from 'node:assert/strict';
import { AxeBuilder } from '@axe-core/playwright';
import { enter, step, tell } from './browser.mjs';
import { api, logIn, run, until } from './system.mjs';

const SECONDS = 12;
const RATE = 44_100;

/** A WAV of two voices whose pitches no other run has. */
function song() {
  const frames = SECONDS * RATE;
  const wav = Buffer.alloc(44 + frames * 4);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + frames * 4, 4);
  wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(2, 22);
  wav.writeUInt32LE(RATE, 24);
  wav.writeUInt32LE(RATE * 4, 28);
  wav.writeUInt16LE(4, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(frames * 4, 40);
  const [call, answer] = [200 + Math.random() * 200, 400 + Math.random() * 200];
  for (let n = 0; n < frames; n++) {
    const t = n / RATE;
    const swell = 0.2 + 0.1 * Math.sin(t);
    wav.writeInt16LE(Math.round(Math.sin(2 * Math.PI * call * t) * swell * 32_000), 44 + n * 4);
    wav.writeInt16LE(Math.round(Math.sin(2 * Math.PI * answer * t) * swell * 32_000), 46 + n * 4);
  }
  return wav;
}

await tell('publish', async (page) => {
  const title = `Antiphony ${Date.now().toString(36)}`;

  await step('an artist logs in and opens the studio', async () => {
    await enter(page, run.page, run.accounts.artist);
    await page.getByRole('link', { name: 'Studio' }).click();
    await page.getByRole('heading', { name: 'Publish a song' }).waitFor();
    const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']).analyze();
    assert.deepEqual(violations.map(({ id }) => id), []);
  });

  await step('a song is uploaded, made and published', async () => {
    await page.getByLabel('Audio file').setInputFiles({ name: 'antiphony.wav', mimeType: 'audio/wav', buffer: song() });
    await page.getByLabel('Title').fill(title);
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByText(`“${title}” is published.`).waitFor({ timeout: 90_000 });
    await page.getByRole('listitem').filter({ hasText: title }).getByText('published').waitFor();
  });

  const token = await logIn(run.accounts.listener);
  const found = await step('a listener finds it', async () =>
    until(
      'the song among the answers',
      async () => {
        const { items } = await api(`/v1/search?q=${encodeURIComponent(title)}`, { token });
        return items.find((item) => item.title === title);
      },
      { within_ms: 15_000 },
    ),
  );

  await step('it plays to its end', async () => {
    await page.getByRole('link', { name: 'Listen', exact: true }).click();
    await page.locator('#search').fill(title);
    // The whole catalogue would be the queue of a click that comes before the answer does.
    await until('one answer', async () => (await page.locator('[data-tracks] [data-track]').count()) === 1, { within_ms: 10_000, every_ms: 100 });
    await page.keyboard.press('Escape');
    await page.locator(`[data-tracks] [data-track="${found.id}"]`).click();
    const at = () => page.evaluate(() => document.querySelector('audio[data-heard]').currentTime);
    await until('sound near the end', async () => (await at()) > SECONDS - 1, { within_ms: SECONDS * 1_000 + 20_000, every_ms: 100 });
    await page.locator('[data-status=paused]').waitFor({ timeout: 10_000 });
  });

  await step('its statements can be read', async () => {
    await page.getByRole('link', { name: 'Statements' }).click();
    await page.getByRole('heading', { name: 'Statements' }).waitFor();
    await page.getByText('Available').waitFor();
  });
});
