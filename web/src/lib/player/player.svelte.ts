/**
 * The player: a queue, a playhead, and what a listener is told about them. Commands come from buttons, keys and the media session; each
 * song is a manifest from the edge, a source on one of two decks, and heartbeats that say what was heard. While a song ends, the next is made
 * ready on the other deck, and begins when the first falls silent.
 */
import { bases, type BaseName } from '../bases';
import { sendLastWords, startCourier, Heartbeats } from '../heartbeats/heartbeats';
import type { Courier } from '../heartbeats/courier';
import { Receipts } from '../heartbeats/receipts';
import { describe } from '../http';
import { session } from '../session.svelte';
import type { Manifest, Track } from '../types';
import { Ahead, isNear } from './ahead';
import { Deck } from './deck';
import { recallDataSaver, rememberDataSaver, type Evidence } from './evidence';
import { Handover, isEnding } from './handover';
import { manifestOf } from './manifest';
import { announce, connect, showPosition } from './media-session';
import { recall, recallVolume, remember, rememberVolume, forget } from './resume';
import type { Heard } from './source';
import { Warm } from './warm';

export type Status = 'idle' | 'loading' | 'playing' | 'paused' | 'stalled';

/** "Previous" within this much of the beginning goes to the track before; later, to the beginning. */
const PREVIOUS_RESTARTS_AFTER_MS = 3_000;
const REMEMBER_EVERY_MS = 2_000;
const MESSAGE_STAYS_MS = 8_000;
/** What a deck that waits holds of its song: its first segments, so that nobody pays for a song they do not come to hear. */
const WAITING_BUFFER_S = 6;

/** hls.js is most of this page's code: it comes while a listener chooses the first song. */
const sources = import('./source');

/** How a song is put on a deck. */
interface Opening {
  start_ms: number;
  /** As `Source.hold`. */
  buffer_s: number | null;
  /** Whether the listener has gone on to something else meanwhile. */
  left(): boolean;
}

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
  dataSaver = $state(recallDataSaver());
  manifest = $state.raw<Manifest | null>(null);
  rung = $state<string | null>(null);
  base = $state<BaseName>(bases.current);
  /** Which of the two <audio> elements is heard. */
  onDeck = $state(0);
  /** Said aloud by the live region. */
  message = $state('');

  current = $derived<Track | null>(this.queue[this.index] ?? null);
  hasNext = $derived(this.index >= 0 && this.index + 1 < this.queue.length);

  #decks: Deck[] = [];
  #ahead = new Ahead<Deck>((track, signal) => this.#makeReady(track, signal));
  #handover = new Handover();
  #beats: Heartbeats | null = null;
  #courier: Courier | null = null;
  readonly #receipts = new Receipts();
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

  /** Called once with the page's two <audio> elements. */
  async attach(audios: [HTMLAudioElement, HTMLAudioElement]): Promise<void> {
    this.#decks = audios.map((audio) => new Deck(audio));
    for (const deck of this.#decks) this.#listen(deck);
    this.#listenToThePage();
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
    this.#bless();
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
    this.#bless();
    if (!this.#deck?.source) return await this.#begin(this.index, this.position_ms);
    await this.#deck.audio.play().catch((error) => this.#fail(error));
  }

  pause(): void {
    this.#deck?.audio.pause();
  }

  toggle(): void {
    if (this.status === 'playing' || this.status === 'stalled' || this.status === 'loading') this.pause();
    else void this.play();
  }

  next(): void {
    if (this.hasNext) void this.#begin(this.index + 1, 0);
  }

  /** Someone is about to press "next". */
  expectNext(): void {
    if (this.hasNext && !this.dataSaver && this.status === 'playing') this.#prepareNext();
  }

  previous(): void {
    if (this.position_ms > PREVIOUS_RESTARTS_AFTER_MS || this.index <= 0) this.seekTo(0);
    else void this.#begin(this.index - 1, 0);
  }

  seekTo(ms: number): void {
    const target = Math.min(Math.max(0, ms), Math.max(0, this.duration_ms - 250));
    if (this.#deck?.source) {
      this.#beats?.seek(this.#playhead(), target);
      this.#deck.audio.currentTime = target / 1000;
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
    this.#ahead.drop();
    const manifest = this.manifest;
    if (manifest && this.#deck?.source) void this.#reopen(manifest);
  }

  /** On: only the smallest quality is fetched from here on. Off: the edge is asked again what it allows. */
  setDataSaver(on: boolean): void {
    this.dataSaver = on;
    rememberDataSaver(on);
    this.#ahead.drop();
    this.#deck?.source?.save(on);
    if (!on) void this.#renew();
  }

  /** Logging out, or leaving: nothing of this listener stays. */
  clear(): void {
    this.#turn++;
    this.#ahead.drop();
    this.#endPlay();
    for (const deck of this.#decks) deck.close();
    this.queue = [];
    this.index = -1;
    this.status = 'idle';
    this.position_ms = 0;
    this.duration_ms = 0;
    forget();
  }

  get #deck(): Deck | null {
    return this.#decks[this.onDeck] ?? null;
  }

  get #otherDeck(): Deck | null {
    return this.#decks[1 - this.onDeck] ?? null;
  }

  /** Each song begins on the deck that the one before does not use: what waits there, or what is opened now. */
  async #begin(index: number, start_ms: number): Promise<void> {
    const track = this.queue[index];
    const [leaving, deck] = [this.#deck, this.#otherDeck];
    if (!track || !leaving || !deck) return;
    const turn = ++this.#turn;
    const resumed = index === this.index ? this.#ticketToResume : null;
    this.#ticketToResume = null;
    const prepared = start_ms === 0 && !resumed ? this.#ahead.take(track.id) : this.#ahead.drop();
    this.#endPlay();
    this.onDeck = 1 - this.onDeck;
    if (!prepared?.ready) leaving.close();
    this.index = index;
    this.status = 'loading';
    this.position_ms = start_ms;
    this.duration_ms = track.duration_ms ?? 0;
    announce(track);
    const left = () => turn !== this.#turn;
    try {
      if (!(await prepared?.arriving)) await this.#load(deck, track.id, resumed, { start_ms, buffer_s: this.#maxBufferS, left });
      if (left()) return;
      if (prepared?.ready) this.#handover.starts(deck.audio, performance.now());
      this.#start(deck, start_ms);
      this.#say(`Playing ${track.title} by ${track.artist}.`);
    } catch (error) {
      if (!left()) this.#fail(error);
    } finally {
      // Last, because taking a player down takes longer than starting one that is ready. A song in its last moment is let go by itself.
      if (!left() && !isEnding(leaving.audio)) leaving.close();
    }
  }

  async #load(deck: Deck, track: string, ticket: string | null, how: Opening): Promise<void> {
    const manifest = await manifestOf(track, ticket, this.#evidence());
    if (!how.left()) await this.#open(deck, manifest, how);
  }

  /** The first object is asked for at once: it travels while the code that plays it sets itself up. */
  async #open(deck: Deck, manifest: Manifest, { start_ms, buffer_s, left }: Opening): Promise<void> {
    const { lossless, dataSaver } = this;
    const onReceipt = (receipt: string | null) => this.#receipts.add(manifest.play.id, receipt);
    const warm = new Warm(manifest, { start_ms, lossless }, onReceipt);
    const { open } = await sources;
    if (left()) return warm.cancel();
    const wishes = { start_ms, lossless, dataSaver, buffer_s, throughput_kbps: this.#throughput_kbps };
    const rung = lossless && manifest.lossless ? manifest.lossless : manifest.start;
    deck.put(manifest, rung, () => open(deck.audio, manifest, warm, wishes, { ...this.#heardOn(deck), onReceipt }));
  }

  async #makeReady(track: string, signal: AbortSignal): Promise<Deck> {
    const deck = this.#otherDeck;
    if (!deck) throw new Error('the page has one deck only');
    await this.#load(deck, track, null, { start_ms: 0, buffer_s: WAITING_BUFFER_S, left: () => signal.aborted });
    signal.throwIfAborted();
    return deck;
  }

  /** From here on the song on `deck` is what the page shows, and what is counted. */
  #start(deck: Deck, start_ms: number): void {
    const { manifest } = deck;
    if (!manifest) return;
    this.#applyVolume();
    void deck.audio.play().catch((error) => this.#fail(error));
    deck.source?.hold(this.#maxBufferS);
    this.manifest = manifest;
    this.rung = deck.rung;
    this.duration_ms = manifest.duration_ms;
    this.#watch(manifest, start_ms);
  }

  #heardOn(deck: Deck): Omit<Heard, 'onReceipt'> {
    const heard = () => deck === this.#deck;
    return {
      onRung: (rung) => {
        deck.rung = rung;
        if (heard()) this.rung = rung;
      },
      onThroughput: (kbps) => (this.#throughput_kbps = kbps),
      onExpired: () => (heard() ? void this.#renew() : this.#ahead.drop()),
      onFatal: (message) => (heard() ? this.#fail(new Error(message)) : this.#ahead.drop()),
    };
  }

  #prepareNext(): void {
    const next = this.queue[this.index + 1];
    if (next) this.#ahead.prepare(next.id);
  }

  #evidence(): Evidence {
    const buffer_ms = this.#deck?.source ? Math.max(0, this.#deck.buffered_ms() - this.#playhead()) : 0;
    return { throughput_kbps: this.#throughput_kbps, buffer_ms, dataSaver: this.dataSaver };
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
        receipts: () => this.#receipts.take(manifest.play.id),
      },
      this.#courier,
    );
  }

  /** The media token ran out (a song left paused for hours), or the edge should choose anew: the same play gets new ones. */
  async #renew(): Promise<void> {
    const track = this.current;
    const ticket = this.manifest?.play.ticket;
    if (!track || !ticket || this.#renewing) return;
    this.#renewing = true;
    const turn = this.#turn;
    try {
      const manifest = await manifestOf(track.id, ticket, this.#evidence());
      if (turn === this.#turn) await this.#reopen(manifest);
    } catch (error) {
      if (turn === this.#turn) this.#fail(error);
    } finally {
      this.#renewing = false;
    }
  }

  /** The same play from another source, where the playhead stands. */
  async #reopen(manifest: Manifest): Promise<void> {
    const [turn, deck] = [this.#turn, this.#deck];
    const left = () => turn !== this.#turn;
    if (!deck) return;
    const goesOn = this.status !== 'paused';
    await this.#open(deck, manifest, { start_ms: this.#playhead(), buffer_s: this.#maxBufferS, left });
    if (left()) return;
    this.manifest = manifest;
    this.rung = deck.rung;
    this.#applyVolume();
    if (goesOn) void deck.audio.play().catch((error) => this.#fail(error));
  }

  /** What was heard is reported, and nothing more of this play is. The deck still has it. */
  #endPlay(): void {
    this.#handover.cancel();
    if (this.#started) this.#beats?.stop();
    this.#beats = null;
    this.#started = false;
    this.manifest = null;
    this.rung = null;
    this.buffered_ms = 0;
  }

  /** A deck that is not heard is not listened to. */
  #listen(deck: Deck): void {
    const { audio } = deck;
    const on = (event: keyof HTMLMediaElementEventMap, act: () => void) =>
      audio.addEventListener(event, () => {
        if (deck === this.#deck) act();
      });
    on('playing', () => {
      const wasStalled = this.status === 'stalled';
      this.status = 'playing';
      if (!this.#started) this.#beats?.start();
      else if (!wasStalled) this.#beats?.resume();
      this.#started = true;
      this.#show();
    });
    on('canplay', () => {
      if (!audio.paused && !this.#started) this.#handover.starts(audio, performance.now());
    });
    on('waiting', () => {
      if (this.status === 'playing') this.status = 'stalled';
    });
    on('pause', () => {
      if (audio.ended || !deck.source) return;
      this.status = 'paused';
      if (this.#started) this.#beats?.pause();
      this.#remember(true);
      this.#show();
    });
    on('timeupdate', () => {
      this.position_ms = this.#playhead();
      this.buffered_ms = deck.buffered_ms();
      this.#remember(false);
      if (this.hasNext && deck.source && isNear(this)) this.#prepareNext();
      this.#handover.moves(audio, performance.now(), this.#ahead.ready ? () => this.#ended() : null);
    });
    on('progress', () => (this.buffered_ms = deck.buffered_ms()));
    on('ended', () => this.#ended());
    audio.addEventListener('ended', () => {
      if (deck !== this.#deck) deck.close();
    });
  }

  #listenToThePage(): void {
    addEventListener('pagehide', (event) => this.#leave(event.persisted));
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'hidden') this.#remember(true);
    });
  }

  #ended(): void {
    this.#beats?.end();
    this.#beats = null;
    if (this.hasNext) return this.next();
    this.#endPlay();
    this.#deck?.close();
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
    this.#deck?.close();
    this.status = this.current ? 'paused' : 'idle';
    this.#say(describe(error));
  }

  #say(message: string): void {
    this.message = message;
    clearTimeout(this.#said);
    this.#said = setTimeout(() => (this.message = ''), MESSAGE_STAYS_MS);
  }

  #playhead(): number {
    const deck = this.#deck;
    return deck?.source && deck.audio.readyState > 0 ? deck.audio.currentTime * 1000 : this.position_ms;
  }

  #applyVolume(): void {
    for (const deck of this.#decks) deck.setVolume(this.volume, this.muted);
  }

  /** Some browsers let an element sound by itself only once a person's own doing has loaded it: the deck that waits too. */
  #bless(): void {
    for (const deck of this.#decks) if (!deck.source && deck.audio.readyState === 0) deck.audio.load();
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
      position_ms: Math.round(this.#playhead()),
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

function numberParameter(name: string): number | null {
  const value = Number(new URLSearchParams(location.search).get(name));
  return Number.isFinite(value) && value > 0 ? value : null;
}

export const player = new Player();
