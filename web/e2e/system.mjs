// The running system that the browser test plays from, as its run.json describes it.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const runFile = process.env.ANTIPHON_RUN_JSON;
if (!runFile) throw new Error('ANTIPHON_RUN_JSON must name the run.json of a running system');

export const readRun = () => JSON.parse(readFileSync(runFile, 'utf8'));
export const run = readRun();

export async function api(path, { token, base = run.edge, method = 'GET', body } = {}) {
  const answer = await fetch(base + path, {
    method,
    headers: { accept: 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return await answer.json();
}

export async function logIn(account) {
  return (await api('/v1/sessions', { method: 'POST', body: account })).access_token;
}

/** A new account of its own, logged in. */
export async function signUp(role) {
  const name = `${role} ${randomUUID().slice(0, 8)}`;
  const account = { email: `${name.replace(' ', '.')}@example.org`, password: 'correct horse' };
  await api('/v1/accounts', { method: 'POST', body: { ...account, name, role, country: 'DE' } });
  return await logIn(account);
}

export async function allTracks(token) {
  const { items } = await api('/v1/search?q=&type=track&limit=50', { token });
  return await Promise.all(items.map(({ id }) => api(`/v1/tracks/${id}`, { token })));
}

/** The longest track: there must be song left to play when the edge dies. */
export async function longestTrack(token) {
  const tracks = await allTracks(token);
  if (tracks.length === 0) throw new Error('the catalogue has no track to play');
  return tracks.reduce((longest, track) => (track.duration_ms > longest.duration_ms ? track : longest));
}

/** Waits until `condition` answers something true, asking again and again. */
export async function until(what, condition, { within_ms, every_ms = 500 }) {
  const last = Date.now() + within_ms;
  let trouble = '';
  for (;;) {
    try {
      const answer = await condition();
      if (answer) return answer;
    } catch (error) {
      trouble = `: ${error.message}`;
    }
    if (Date.now() > last) throw new Error(`not within ${within_ms} ms: ${what}${trouble}`);
    await new Promise((resolve) => setTimeout(resolve, every_ms));
  }
}

/** Keeps the edge or the gateway dead: its supervisor starts it again, under a new process id that run.json then names. */
export function holdDown(part) {
  const kill = () => {
    for (const pid of processes(part)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it is dead already
      }
    }
  };
  kill();
  const timer = setInterval(kill, 100);
  return () => clearInterval(timer);
}

/** Waits until it answers again. */
export async function backUp(part) {
  await until(`the ${part} back up`, async () => (await fetch(`${run[part]}/healthz`)).ok, { within_ms: 30_000 });
}

/** What run.json names, and what listens on the part's port now, should run.json lag behind. */
function processes(part) {
  let named = [];
  try {
    named = readRun().parts.filter(({ name }) => name === part).map(({ pid }) => pid);
  } catch {
    // run.json is being replaced
  }
  return [...new Set([...named, ...listeners(new URL(run[part]).port)])].filter((pid) => pid > 1 && pid !== process.pid);
}

function listeners(port) {
  try {
    const lines = execFileSync('ss', ['-Hltnp', `sport = :${port}`], { encoding: 'utf8' });
    return [...lines.matchAll(/pid=(\d+)/g)].map((match) => Number(match[1]));
  } catch {
    return []; // no ss here: run.json alone has to do
  }
}
