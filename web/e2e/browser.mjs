// A headless browser, and steps that say what they promise.
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
];

let passed = 0;
let failed = 0;

export async function step(promise, body) {
  const begun = Date.now();
  try {
    const answer = await body();
    passed += 1;
    console.log(`ok   ${promise} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    return answer;
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${promise}\n     ${error.stack ?? error}`);
    throw error;
  }
}

/** Runs `story` on a fresh page. The first step that fails ends it, with what the page said and a picture of it. */
export async function tell(name, story) {
  [passed, failed] = [0, 0];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', headless: true, args: FLAGS });
  // AxeBuilder wants a page of an explicit context.
  const page = await (await browser.newContext()).newPage();
  const said = [];
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(`uncaught: ${error.stack}`));
  try {
    await story(page);
  } catch (error) {
    if (failed === 0) {
      failed += 1;
      console.log(`FAIL ${name}\n     ${error.stack ?? error}`);
    }
    const picture = path.join(process.env.ANTIPHON_SCREENSHOTS ?? tmpdir(), `antiphon-${name}.png`);
    await page.screenshot({ path: picture }).catch(() => undefined);
    console.log([...said.slice(-40), `picture: ${picture}`].map((line) => `     ${line}`).join('\n'));
  } finally {
    await browser.close();
  }
  console.log(`${passed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

export async function enter(page, url, account) {
  await page.goto(url);
  await page.getByLabel('Email').fill(account.email);
  await page.getByLabel('Password').fill(account.password);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('#search').waitFor();
}
