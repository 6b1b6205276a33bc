/**
 * One song on one <audio> element: hls.js with the edge's choice obeyed (start rung, allowed rungs, lossless as a mode of its own), or the
 * browser's own HLS where there is no Media Source. Comes from a manifest and what is already on its way, ends with `destroy`.
 */
import Hls, { ErrorDetails, ErrorTypes, Events, type ErrorData, type Level } from 'hls.js/light';
import { bases } from '../bases';
import type { Manifest } from '../types';
import { loaderFor } from './loader';
import type { Warm } from './warm';

const NATIVE = 'application/vnd.apple.mpegurl';
/** A network that is gone for longer than this many rounds of hls.js's own retries ends the song with a message. */
const MAX_RECOVERIES = 6;
/** hls.js answers its own first guess before it has measured this many. */
const MEASURED_AFTER_FRAGMENTS = 2;

export interface Heard {
  onRung(rung: string): void;
  /** What the network carried lately. */
  onThroughput(kbps: number): void;
  /** A segment was fetched, and this came with it. */
  onReceipt(receipt: string | null): void;
  /** The tokens are over: a new manifest is needed. */
  onExpired(): void;
  onFatal(message: string): void;
}

export interface Source {
  /** Seconds of media to hold ahead; null for hls.js's own. */
  hold(buffer_s: number | null): void;
  /** Whether only the smallest rung is fetched from now on. */
  save(on: boolean): void;
  destroy(): void;
}

export interface Wishes {
  start_ms: number;
  lossless: boolean;
  dataSaver: boolean;
  /** As `Source.hold`. */
  buffer_s: number | null;
  /** What the connection carried lately: hls.js's first guess. */
  throughput_kbps: number | null;
}

export function open(audio: HTMLAudioElement, manifest: Manifest, warm: Warm, wishes: Wishes, heard: Heard): Source {
  if (Hls.isSupported()) return openHls(audio, manifest, warm, wishes, heard);
  warm.cancel();
  if (audio.canPlayType(NATIVE)) return openNative(audio, manifest, wishes, heard);
  throw new Error('This browser can play neither Media Source nor HLS.');
}

function openHls(audio: HTMLAudioElement, manifest: Manifest, warm: Warm, wishes: Wishes, heard: Heard): Source {
  const hls = new Hls({
    loader: loaderFor(warm, heard.onReceipt),
    autoStartLoad: false,
    startPosition: wishes.start_ms / 1000,
    // CMAF needs no remuxing: a worker would cost a blob: in the page's policy and gain nothing.
    enableWorker: false,
    backBufferLength: 90,
    ...bufferOf(wishes.buffer_s),
    ...(wishes.throughput_kbps === null ? {} : { abrEwmaDefaultEstimate: wishes.throughput_kbps * 1000 }),
    fragLoadPolicy: { default: { ...Hls.DefaultConfig.fragLoadPolicy.default, maxTimeToFirstByteMs: 6_000 } },
  });
  const playlist = bases.at(bases.current, playlistOf(manifest, wishes.lossless));
  let recoveries = 0;
  let fragments = 0;

  hls.on(Events.MANIFEST_PARSED, () => {
    obey(hls, manifest);
    save(hls, wishes.dataSaver);
    hls.startLoad(wishes.start_ms / 1000);
  });
  hls.on(Events.LEVEL_SWITCHED, (_event, { level }) => {
    const chosen = hls.levels[level];
    if (chosen) heard.onRung(rungOf(chosen));
  });
  hls.on(Events.FRAG_BUFFERED, () => {
    recoveries = 0;
    fragments += 1;
    if (fragments > MEASURED_AFTER_FRAGMENTS && hls.bandwidthEstimate > 0) heard.onThroughput(Math.round(hls.bandwidthEstimate / 1000));
  });
  hls.on(Events.ERROR, (_event, error) => {
    if (isExpired(error)) return heard.onExpired();
    if (!error.fatal) return;
    if (++recoveries > MAX_RECOVERIES) return heard.onFatal(`Playback stopped: ${error.details}.`);
    recover(hls, playlist, error, recoveries);
  });

  hls.loadSource(playlist);
  hls.attachMedia(audio);
  return {
    hold: (buffer_s) => void Object.assign(hls.config, bufferOf(buffer_s)),
    save: (on) => save(hls, on),
    destroy() {
      warm.cancel();
      hls.destroy();
    },
  };
}

function bufferOf(buffer_s: number | null): { maxBufferLength: number; maxMaxBufferLength: number } {
  const { maxBufferLength, maxMaxBufferLength } = Hls.DefaultConfig;
  return buffer_s === null ? { maxBufferLength, maxMaxBufferLength } : { maxBufferLength: buffer_s, maxMaxBufferLength: buffer_s };
}

/** Levels are sorted, the smallest first. */
function save(hls: Hls, on: boolean): void {
  hls.autoLevelCapping = on ? 0 : -1;
}

/** The multivariant playlist has the rungs of one codec; lossless is another mode, so it is opened by its own media playlist. */
function playlistOf(manifest: Manifest, lossless: boolean): string {
  return lossless && manifest.lossless ? manifest.playlist_url.replace(/[^/]*$/, `${manifest.lossless}.m3u8`) : manifest.playlist_url;
}

/** Begins on `start`, and removes what the edge does not allow now. */
function obey(hls: Hls, manifest: Manifest): void {
  for (let index = hls.levels.length - 1; index >= 0; index--) {
    const level = hls.levels[index];
    if (level && !manifest.allowed.includes(rungOf(level)) && hls.levels.length > 1) hls.removeLevel(index);
  }
  const start = hls.levels.findIndex((level) => rungOf(level) === manifest.start);
  if (start >= 0) hls.startLevel = start;
}

/** The playlist's file name is the rung's name. */
function rungOf(level: Level): string {
  return /([^/]+)\.m3u8$/.exec(new URL(level.url[0] ?? '', location.href).pathname)?.[1] ?? level.name;
}

function isExpired(error: ErrorData): boolean {
  return error.type === ErrorTypes.NETWORK_ERROR && (error.response?.code === 403 || error.response?.code === 401);
}

function recover(hls: Hls, playlist: string, error: ErrorData, attempt: number): void {
  if (error.type === ErrorTypes.MEDIA_ERROR) return hls.recoverMediaError();
  // Both bases failed: the loader has turned already. Wait longer each time, then go on from where the playhead stands.
  const neverParsed = error.details === ErrorDetails.MANIFEST_LOAD_ERROR || error.details === ErrorDetails.MANIFEST_LOAD_TIMEOUT;
  setTimeout(() => {
    if (neverParsed) hls.loadSource(bases.at(bases.current, playlist));
    else hls.startLoad();
  }, 500 * 2 ** attempt);
}

function openNative(audio: HTMLAudioElement, manifest: Manifest, wishes: Wishes, heard: Heard): Source {
  let turned = false;
  let resume_s = wishes.start_ms / 1000;
  const seekToResume = () => {
    if (resume_s > 0) audio.currentTime = resume_s;
  };
  const onError = () => {
    if (turned || !manifest.fallback_playlist_url) return heard.onFatal('Playback stopped: the stream cannot be loaded.');
    turned = true;
    bases.failed('edge');
    resume_s = audio.currentTime;
    audio.src = manifest.fallback_playlist_url;
    void audio.play().catch(() => undefined);
  };
  audio.addEventListener('loadedmetadata', seekToResume);
  audio.addEventListener('error', onError);
  audio.src = bases.at(bases.current, manifest.playlist_url);
  heard.onRung(manifest.start);
  return {
    // The browser's own player holds and chooses as it likes.
    hold: () => undefined,
    save: () => undefined,
    destroy() {
      audio.removeEventListener('loadedmetadata', seekToResume);
      audio.removeEventListener('error', onError);
      audio.removeAttribute('src');
      audio.load();
    },
  };
}
