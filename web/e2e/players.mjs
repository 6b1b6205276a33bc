// Players that are not ours, as their packages ship them, on a page of another origin than the service's. What they play from is index.m3u8 alone.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const installed = createRequire(import.meta.url);
const PLAYERS = {
  hls: installed.resolve('hls.js/dist/hls.js'),
  shaka: installed.resolve('shaka-player/dist/shaka-player.compiled.debug.js'),
};

const html = (name) => `<!doctype html><meta charset="utf-8"><title>A stock player</title><link rel="icon" href="data:,">
<audio controls></audio><script src="/${name}.js"></script><script>(${page})()</script>`;

/** Serves `/hls` and `/shaka` until `close`. */
export async function servePlayers() {
  const server = createServer((request, response) => {
    const [, name, script] = /^\/([a-z]+)(\.js)?$/.exec(request.url) ?? [];
    const known = Object.hasOwn(PLAYERS, name ?? '');
    response.writeHead(known ? 200 : 404, { 'content-type': script ? 'text/javascript' : 'text/html' });
    if (known && script) createReadStream(PLAYERS[name]).pipe(response);
    else response.end(known ? html(name) : '');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Runs in the browser: gives the test the same few handles on either player, and keeps what went wrong. */
function page() {
  const audio = document.querySelector('audio');
  /** Warnings and errors, of the player or of the element. */
  const said = [];
  /** Where the element ran out of media. Waiting for a seek is no fault, and waiting with media at hand is the fault of a busy machine. */
  const dry = [];
  audio.addEventListener('waiting', () => {
    const { currentTime, seeking } = audio;
    const end = ranges().find(([start, end]) => start <= currentTime && currentTime <= end)?.[1] ?? currentTime;
    if (!seeking && currentTime > 0 && end - currentTime < 0.5) dry.push({ at: currentTime, ranges: ranges() });
  });
  audio.addEventListener('error', () => said.push(`element: ${audio.error.message}`));

  const players = {
    /** A player that is there already goes on with this song, under this configuration. */
    async hls(url, { cmcd } = {}) {
      const known = window.stock.player?.hls;
      if (known) {
        known.config.cmcd = cmcd;
        known.loadSource(url);
        await new Promise((resolve) => known.once(Hls.Events.MANIFEST_PARSED, resolve));
        return window.stock.player;
      }
      const quiet = () => undefined;
      // A request that hls.js gives up itself, for a seek or for another rung, is no complaint.
      const say = (...words) => words.some((word) => /\baborted\b/.test(word)) || said.push(words.join(' '));
      const hls = new Hls({ cmcd, debug: { trace: quiet, debug: quiet, log: quiet, info: quiet, warn: say, error: say } });
      hls.on(Hls.Events.ERROR, (_event, { type, details, fatal }) => say(`${type} ${details}${fatal ? ' fatal' : ''}`));
      hls.loadSource(url);
      hls.attachMedia(audio);
      await new Promise((resolve) => hls.once(Hls.Events.MANIFEST_PARSED, resolve));
      return {
        hls,
        bandwidths: () => hls.levels.map(({ bitrate }) => bitrate),
        choose: (index) => (hls.nextLevel = index),
      };
    },
    async shaka(url) {
      shaka.polyfill.installAll();
      const player = new shaka.Player();
      player.addEventListener('error', ({ detail }) => said.push(`shaka error ${detail.code}`));
      await player.attach(audio);
      await player.load(url);
      const tracks = () => player.getVariantTracks().toSorted((a, b) => a.bandwidth - b.bandwidth);
      return {
        bandwidths: () => tracks().map(({ bandwidth }) => bandwidth),
        choose(index) {
          player.configure('abr.enabled', false);
          player.selectVariantTrack(tracks()[index]);
        },
      };
    },
  };

  const ranges = () => Array.from({ length: audio.buffered.length }, (_, n) => [audio.buffered.start(n), audio.buffered.end(n)]);
  window.stock = {
    async start(name, url, options) {
      const ready = new Promise((resolve) => audio.addEventListener('canplay', resolve, { once: true }));
      window.stock.player = await players[name](url, options);
      await ready;
      await audio.play();
    },
    state: () => ({ at: audio.currentTime, ranges: ranges(), said: [...said], dry: [...dry], seeking: audio.seeking, paused: audio.paused }),
  };
}
