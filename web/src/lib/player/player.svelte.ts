/**
 * The player: a queue, a playhead, and what a listener is told about them. Commands come from buttons, keys and the media session; each
 * song is a manifest from the edge, a source on the <audio> element, and heartbeats that say what was heard.
 */
import { bases, type BaseName } from '../bases';
import { sendLastWords, startCourier, Heartbeats } from '../heartbeats/heartbeats';
import type { Courier } from '../heartbeats/courier';
import { describe, Problem } from '../http';
import { session } from '../session.svelte';
import type { Manifest, Track } from '../types';
import { volumeFor } from './loudness';
import { announce, connect, showPosition } from './media-session';
import { recall, recallVolume, remember, rememberVolume, forget } from './resume';
import type { Source } from './source';

export type Status = 'idle' | 'loading' | 'playing' | 'paused' | 'stalled';

/** "Previous" within this much of the beginning goes to the track before; later, to the beginning. */
const PREVIOUS_RESTARTS_AFTER_MS = 3_000;
const REMEMBER_EVERY_MS = 2_000;
const MESSAGE_STAYS_MS = 8_000;

/** hls.js is most of this page's code: it comes while a listener chooses the first song. */
const sources = import('./source');

class Player {
  queue = $state.raw<Track[]>([]);
  index = $state(-1);
  status = $state<Status>('idle');
  position_ms = $state(0);
  buffered_ms = $state(0);
  duration_ms = $state(0);
  volume = $state(recallVolume());
  muted = $state(false);
  lossless = $state(false);
  manifest = $state.raw<Manifest | null>(null);
  rung = $state<string | null>(null);
  base = $state<BaseName>(bases.current);
  /** Said aloud by the live region. */
  message = $state('');

  current = $derived<Track | null>(this.queue[this.index] ?? null);
  hasNext = $derived(this.index >= 0 && this.index + 1 < this.queue.length);

  #audio: HTMLAudioElement | null = null;
  #source: Source | null = null;
  #beats: Heartbeats | null = null;
  #courier: Courier | null = null;
  /** A newer `#begin` makes an older one that still waits for its manifest give up. */
  #turn = 0;
  #renewing = false;
  /** Sound was heard of this play: before that there is nothing to report. */
  #started = false;
  #ticketToResume: string | null = null;
  #remembered_at = 0;
  #said: ReturnType<typeof setTimeout> | undefined;
  /** Measured on this page, so on the connection of now: the edge chooses by it. */
  #throughput_kbps: number | null = null;
  readonly #maxBufferS = numberParameter('maxBuffer');

  /** Called once with the page's <audio> element. */
  async attach(audio: HTMLAudioElement): Promise<void> {
    this.#audio = audio;
    this.#listen(audio);
    connect({
      play: () => void this.play(),
      pause: () => this.pause(),
      next: () => this.next(),
      previous: () => this.previous(),
      seekTo: (ms) => this.seekTo(ms),
      seekBy: (ms) => this.seekBy(ms),
    });
    bases.subscribe((base) => {
      this.base = base;
      this.#say(base === 'gateway' ? 'The nearby server is away: playing through the gateway.' : 'Back on the nearby server.');
    });
    this.#recall();
    this.#applyVolume();
    this.#courier = await startCourier();
    this.#courier.onStop = (ticket) => this.#stoppedElsewhere(ticket);
  }

  /** Replaces the queue and plays from `index`. */
  playAll(tracks: Track[], index: number): void {
    this.queue = tracks;
    void this.#begin(index, 0);
  }

  /** Adds to the end of the queue. */
  enqueue(track: Track): void {
    this.queue = [...this.queue, track];
    if (this.index < 0) this.index = 0;
    this.#say(`${track.title} added to the queue.`);
  }

  async play(): Promise<void> {
    if (!this.current) return;
    if (!this.#source) return await this.#begin(this.index, this.position_ms);
    await this.#audio?.play().catch((error) => this.#fail(error));
  }

  pause(): void {
    this.#audio?.pause();
  }

  toggle(): void {
    if (this.status === 'playing' || this.status === 'stalled' || this.status === 'loading') this.pause();
    else void this.play();
  }

  next(): void {
    if (this.hasNext) void this.#begin(this.index + 1, 0);
  }

  previous(): void {
    if (this.position_ms > PREVIOUS_RESTARTS_AFTER_MS || this.index <= 0) this.seekTo(0);
    else void this.#begin(this.index - 1, 0);
  }

  seekTo(ms: number): void {
    const target = Math.min(Math.max(0, ms), Math.max(0, this.duration_ms - 250));
    if (this.#audio && this.#source) {
      this.#beats?.seek(this.#playhead(), target);
      this.#audio.currentTime = target / 1000;
    }
    this.position_ms = target;
    this.#remember(true);
  }

  seekBy(ms: number): void {
    this.seekTo(this.#playhead() + ms);
  }

  setVolume(volume: number): void {
    this.volume = Math.min(1, Math.max(0, volume));
    this.muted = false;
    rememberVolume(this.volume);
    this.#applyVolume();
  }

  toggleMute(): void {
    this.muted = !this.muted;
    this.#applyVolume();
  }

  /** Lossless is a mode: its codec is never mixed with the others, so the source is opened anew where the playhead stands. */
  setLossless(on: boolean): void {
    this.lossless = on;
    const manifest = this.manifest;
    if (manifest && this.#source) void this.#openSource(manifest, this.#playhead(), this.status !== 'paused');
  }

  /** Logging out, or leaving: nothing of this listener stays. */
  clear(): void {
    this.#closePlay();
    this.queue = [];
    this.index = -1;
    this.status = 'idle';
    this.position_ms = 0;
    this.duration_ms = 0;
    this.manifest = null;
    forget();
  }

  async #begin(index: number, start_ms: number): Promise<void> {
    const track = this.queue[index];
    const audio = this.#audio;
    if (!track || !audio) return;
    const turn = ++this.#turn;
    const resumed = index === this.index ? this.#ticketToResume : null;
    this.#ticketToResume = null;
    this.#closePlay();
    this.index = index;
    this.status = 'loading';
    this.position_ms = start_ms;
    this.duration_ms = track.duration_ms ?? 0;
    announce(track);
    try {
      const manifest = await manifestOf(track.id, resumed, this.#throughput_kbps);
      if (turn !== this.#turn) return;
      this.#watch(manifest, start_ms);
      await this.#openSource(manifest, start_ms, true);
      this.#say(`Playing ${track.title} by ${track.artist}.`);
    } catch (error) {
      if (turn === this.#turn) this.#fail(error);
    }
  }

  async #openSource(manifest: Manifest, start_ms: number, play: boolean): Promise<void> {
    const audio = this.#audio;
    const turn = this.#turn;
    const { open } = await sources;
    if (!audio || turn !== this.#turn) return;
    this.#source?.destroy();
    this.manifest = manifest;
    this.duration_ms = manifest.duration_ms;
    this.rung = this.lossless && manifest.lossless ? manifest.lossless : manifest.start;
    this.#applyVolume();
    this.#source = open(
      audio,
      manifest,
      { start_ms, lossless: this.lossless, maxBufferS: this.#maxBufferS },
      {
        onRung: (rung) => (this.rung = rung),
        onThroughput: (kbps) => (this.#throughput_kbps = kbps),
        onExpired: () => void this.#renew(),
        onFatal: (message) => this.#fail(new Error(message)),
      },
    );
    if (play) void audio.play().catch((error) => this.#fail(error));
  }

  #watch(manifest: Manifest, start_ms: number): void {
    if (!this.#courier) return;
    this.#beats = new Heartbeats(
      {
        ticket: manifest.play.ticket,
        heartbeat_every_ms: manifest.play.heartbeat_every_ms,
        duration_ms: manifest.duration_ms,
        start_ms,
        position_ms: () => this.#playhead(),
        muted: () => this.muted || this.volume === 0,
      },
      this.#courier,
    );
  }

  /** The media token ran out (a song left paused for hours): the same play gets new ones. */
  async #renew(): Promise<void> {
    const track = this.current;
    const ticket = this.manifest?.play.ticket;
    if (!track || !ticket || this.#renewing) return;
    this.#renewing = true;
    const turn = this.#turn;
    try {
      const manifest = await manifestOf(track.id, ticket, this.#throughput_kbps);
      if (turn === this.#turn) await this.#openSource(manifest, this.#playhead(), this.status !== 'paused');
    } catch (error) {
      if (turn === this.#turn) this.#fail(error);
    } finally {
      this.#renewing = false;
    }
  }

  #closePlay(): void {
    if (this.#started) this.#beats?.stop();
    this.#beats = null;
    this.#started = false;
    this.#source?.destroy();
    this.#source = null;
    this.manifest = null;
    this.rung = null;
    this.buffered_ms = 0;
  }

  #listen(audio: HTMLAudioElement): void {
    audio.addEventListener('playing', () => {
      const wasStalled = this.status === 'stalled';
      this.status = 'playing';
      if (!this.#started) this.#beats?.start();
      else if (!wasStalled) this.#beats?.resume();
      this.#started = true;
      this.#show();
    });
    audio.addEventListener('waiting', () => {
      if (this.status === 'playing') this.status = 'stalled';
    });
    audio.addEventListener('pause', () => {
      if (audio.ended || !this.#source) return;
      this.status = 'paused';
      if (this.#started) this.#beats?.pause();
      this.#remember(true);
      this.#show();
    });
    audio.addEventListener('timeupdate', () => {
      this.position_ms = this.#playhead();
      this.buffered_ms = bufferedAround(audio) * 1000;
      this.#remember(false);
    });
    audio.addEventListener('progress', () => (this.buffered_ms = bufferedAround(audio) * 1000));
    audio.addEventListener('ended', () => this.#ended());
    addEventListener('pagehide', (event) => this.#leave(event.persisted));
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden') this.#remember(true);
    });
  }

  #ended(): void {
    this.#beats?.end();
    this.#beats = null;
    if (this.hasNext) return this.next();
    this.#closePlay();
    this.status = 'paused';
    this.position_ms = 0;
    this.#remember(true);
    this.#show();
  }

  #leave(mayComeBack: boolean): void {
    this.#remember(true);
    const last = this.#started ? (this.#beats?.lastWords(mayComeBack) ?? []) : [];
    sendLastWords(this.#courier?.lastWords(last) ?? []);
  }

  #stoppedElsewhere(ticket: string): void {
    if (ticket !== this.manifest?.play.ticket) return;
    this.pause();
    this.#say('Paused here: this account started playing on another device.');
  }

  #fail(error: unknown): void {
    // Pressing pause, or a newer song, interrupts a play() that waits: that is no failure.
    if (error instanceof DOMException && error.name === 'AbortError') return;
    if (error instanceof DOMException && error.name === 'NotAllowedError') {
      this.status = 'paused';
      this.#say('Press play to start the music.');
      return;
    }
    if (this.#started) this.#beats?.pause();
    this.#source?.destroy();
    this.#source = null;
    this.status = this.current ? 'paused' : 'idle';
    this.#say(describe(error));
  }

  #say(message: string): void {
    this.message = message;
    clearTimeout(this.#said);
    this.#said = setTimeout(() => (this.message = ''), MESSAGE_STAYS_MS);
  }

  #playhead(): number {
    return this.#audio && this.#source && this.#audio.readyState > 0 ? this.#audio.currentTime * 1000 : this.position_ms;
  }

  #applyVolume(): void {
    if (!this.#audio) return;
    this.#audio.volume = volumeFor(this.volume, this.manifest?.loudness?.gain_db ?? null);
    this.#audio.muted = this.muted;
  }

  #show(): void {
    showPosition(this.status === 'playing', this.position_ms, this.duration_ms);
  }

  #remember(now: boolean): void {
    if (!this.current || (!now && Date.now() - this.#remembered_at < REMEMBER_EVERY_MS)) return;
    this.#remembered_at = Date.now();
    remember({
      queue: this.queue,
      index: this.index,
      position_ms: Math.round(this.#source ? this.#playhead() : this.position_ms),
      ticket: this.manifest?.play.ticket ?? this.#ticketToResume,
      ticket_expires_at: this.manifest?.play.expires_at ?? null,
    });
  }

  #recall(): void {
    const resume = recall();
    if (!resume || !session.account) return;
    this.queue = resume.queue;
    this.index = resume.index;
    this.position_ms = resume.position_ms;
    this.duration_ms = this.current?.duration_ms ?? 0;
    this.status = 'paused';
    this.#ticketToResume = resume.ticket;
    if (this.current) announce(this.current);
  }
}

async function manifestOf(track: string, ticket: string | null, throughput_kbps: number | null): Promise<Manifest> {
  const path = `/v1/tracks/${encodeURIComponent(track)}/manifest`;
  // CTA-5004: mtp is the measured throughput, kbit/s to the nearest hundred.
  const headers: Record<string, string> = throughput_kbps ? { 'cmcd-request': `mtp=${Math.max(100, Math.round(throughput_kbps / 100) * 100)}` } : {};
  try {
    const manifest = await session.json<Manifest>(ticket ? `${path}?play=${encodeURIComponent(ticket)}` : path, { headers });
    bases.learn(manifest.fallback_playlist_url);
    return manifest;
  } catch (error) {
    // A ticket that cannot be renewed means a new play, not silence.
    const spent = ticket !== null && error instanceof Problem && error.status >= 400 && error.status < 500;
    if (!spent) throw error;
    return await manifestOf(track, null, throughput_kbps);
  }
}

/** The end, in seconds, of the buffered range that the playhead is in. */
function bufferedAround(audio: HTMLAudioElement): number {
  for (let i = 0; i < audio.buffered.length; i++) {
    if (audio.buffered.start(i) <= audio.currentTime + 0.1 && audio.currentTime <= audio.buffered.end(i)) return audio.buffered.end(i);
  }
  return audio.currentTime;
}

function numberParameter(name: string): number | null {
  const value = Number(new URLSearchParams(location.search).get(name));
  return Number.isFinite(value) && value > 0 ? value : null;
}

export const player = new Player();
