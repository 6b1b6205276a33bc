/**
 * hls.js around its own rate adaptation: the level controller and the stream controller of version 1.7.4 as far as a song needs them, on
 * virtual time. What they do is said at each place; decisions on quality are all `AbrController`'s.
 *
 * Left out: the fatal error after the fourth timeout in a row (the player goes on trying, which is kind to both sides), and decoding.
 */
import { AbrController, DEFAULTS, ErrorDetails, Events, enter } from './hls-engine.js';
import { BYTES, SERVER_MS } from './media.js';
import { Connection } from './network.js';

/** Demultiplexing and appending a segment. */
const APPEND_MS = 5;
/** Our loader hands over a playlist that the manifest brought. */
const HELD_MS = 1;
/** TICK_INTERVAL of the stream controller. */
const TICK_MS = 100;

/**
 * @typedef {object} Start how a play begins
 * @property {string[]} rungs what is offered
 * @property {string | null} start the rung to begin on; null leaves it to hls.js
 * @property {boolean} joined the manifest carries the playlists of every rung, and the first segment comes joined to its init section
 * @property {number} [estimate_bps] what hls.js takes the bandwidth to be before it has measured
 * @property {number} [first_byte_timeout_ms]
 */

export class Player {
  /** @param {Start} start */
  constructor(clock, trace, song, start) {
    this.clock = clock;
    this.connection = new Connection(trace);
    this.song = song;
    this.start = start;
    this.fragments = song.durations_s.map((duration_s, n) => ({ n, duration_s }));
    this.buffered_s = 0;
    this.heard = { startup_ms: null, stalls: 0, stalled_ms: 0, switches: 0, kbit: 0, ended: false };
    this.#playhead = { at_s: 0, since_ms: null };
    enter(clock);
    this.#hls = this.#shell();
    this.#abr = new AbrController(this.#hls);
  }

  #hls;
  #abr;
  #playhead;
  #stalled_since_ms = null;
  #runs_dry = null;
  #loading = null; // the fragment under way
  #playlists_coming = new Set();
  #level = -1; // of the level controller
  #next = 0; // the next segment
  #last_rung = null;
  #warm = null; // the joined first object, until it is used

  get bandwidth_bps() {
    return this.#abr.bwEstimator.canEstimate() ? this.#abr.bwEstimator.getEstimate() : null;
  }

  /** The part of `Hls` that the rate adaptation looks at. */
  #shell() {
    const player = this;
    const listeners = new Map();
    const quiet = () => {};
    const offered = this.song.rungs.filter((rung) => this.start.rungs.includes(rung.name));
    const levels = offered.map((rung) => ({
      rung, bitrate: rung.peak_bps, maxBitrate: rung.peak_bps, averageBitrate: rung.average_bps, realBitrate: 0,
      codecSet: 'mp4a', codecs: 'mp4a.40.2', audioCodec: 'mp4a.40.2', videoRange: 'SDR', frameRate: 0, attrs: { CODECS: 'mp4a.40.2' },
      loadError: 0, fragmentError: 0, details: undefined, hasInit: false,
    }));
    return {
      config: { ...DEFAULTS, ...(this.start.estimate_bps ? { abrEwmaDefaultEstimate: this.start.estimate_bps } : {}) },
      logger: { trace: quiet, debug: quiet, log: quiet, info: quiet, warn: quiet, error: quiet },
      levels,
      allAudioTracks: [],
      autoLevelEnabled: true,
      minAutoLevel: 0,
      maxAutoLevel: levels.length - 1,
      on: (event, call, context) => listeners.set(event, [...(listeners.get(event) ?? []), call.bind(context)]),
      off: quiet,
      trigger(event, payload) {
        for (const call of listeners.get(event) ?? []) call(event, payload);
        if (event === Events.FRAG_LOAD_EMERGENCY_ABORTED) player.clock.after(0, () => player.#tick(true));
      },
      /** The first in the playlist: the edge puts the start rung there, which is this one where it knows nothing. */
      firstLevel: Math.max(0, levels.findIndex((level) => level.rung.name === (this.start.start ?? 'aac-128'))),
      get loadLevel() { return player.#level; },
      get loadLevelObj() { return levels[player.#level] ?? null; },
      get latestLevelDetails() { return levels[player.#level]?.details ?? null; },
      get nextAutoLevel() { return player.#abr.nextAutoLevel; },
      set nextAutoLevel(level) { player.#abr.nextAutoLevel = level; },
      get nextLoadLevel() { return player.#abr.nextAutoLevel; },
      /** LevelController: switching loads the media playlist when it is not there yet. */
      set nextLoadLevel(level) { player.#switchTo(level); player.#abr.nextAutoLevel = level; },
      get media() {
        const ready = player.buffered_s > player.position_s ? 4 : player.buffered_s > 0 ? 2 : 0;
        return { paused: false, playbackRate: 1, readyState: ready };
      },
      get mainForwardBufferInfo() {
        const start = player.position_s;
        return { len: Math.max(0, player.buffered_s - start), start, end: player.buffered_s };
      },
    };
  }

  get position_s() {
    const { at_s, since_ms } = this.#playhead;
    return since_ms === null ? at_s : Math.min(this.buffered_s, at_s + (this.clock.now_ms - since_ms) / 1000);
  }

  /** The listener clicks. */
  play() {
    const { clock, connection, start } = this;
    if (start.joined) {
      // Ours: one manifest; then one object, which is asked for before hls.js is there to ask.
      const manifest = connection.request(clock.now_ms, BYTES.manifest_json, SERVER_MS.decide);
      clock.at(manifest.end_ms, () => {
        const level = this.#hls.levels[this.#hls.firstLevel];
        this.#warm = connection.request(clock.now_ms, BYTES.init + level.rung.segment_bytes[0], SERVER_MS.object);
        this.#begin();
      });
    } else {
      const multivariant = connection.request(clock.now_ms, BYTES.multivariant, SERVER_MS.decide);
      clock.at(multivariant.end_ms, () => this.#begin());
    }
    clock.every(TICK_MS, () => this.#tick());
  }

  /** `startLoad` of the stream controller: `startLevel`, or what the rate adaptation finds first. */
  #begin() {
    this.#hls.trigger(Events.MANIFEST_LOADING, { url: '' });
    this.#hls.nextLoadLevel = this.start.start === null ? this.#abr.firstAutoLevel : this.#hls.firstLevel;
    this.#tick();
  }

  #switchTo(index) {
    const level = this.#hls.levels[index];
    if (!level || (index === this.#level && (level.details || this.#playlists_coming.has(index)))) return;
    if (index !== this.#level) {
      this.#level = index;
      this.#hls.trigger(Events.LEVEL_SWITCHING, { level: index });
    }
    if (level.details || this.#playlists_coming.has(index)) return;
    this.#playlists_coming.add(index);
    this.#loadPlaylist(index, level);
  }

  #loadPlaylist(index, level) {
    const now_ms = this.clock.now_ms;
    const loading = this.start.joined
      ? { start_ms: now_ms, first_ms: now_ms, end_ms: now_ms + HELD_MS }
      : this.connection.request(now_ms, BYTES.media_playlist, SERVER_MS.object);
    const { maxTimeToFirstByteMs } = DEFAULTS.playlistLoadPolicy.default;
    if (loading.first_ms - loading.start_ms > maxTimeToFirstByteMs) {
      this.clock.after(maxTimeToFirstByteMs, () => this.#loadPlaylist(index, level));
      return;
    }
    this.clock.at(loading.end_ms, () => {
      this.#playlists_coming.delete(index);
      level.details = details(this.song);
      const stats = { loading: { start: loading.start_ms, first: loading.first_ms, end: loading.end_ms } };
      this.#hls.trigger(Events.LEVEL_LOADED, { level: index, levelInfo: level, details: level.details, stats });
      this.#tick();
    });
  }

  /** `doTickIdle`: a level, its playlist, room in the buffer, the next segment. `again` after an emergency: what loads is given up. */
  #tick(again = false) {
    if (this.#level < 0 || this.#next >= this.fragments.length || (this.#loading && !again)) return;
    const index = this.#hls.nextLoadLevel;
    const level = this.#hls.levels[index];
    if (!level) return;
    this.#hls.nextLoadLevel = index;
    if (!level.details) return;
    // getMaxBufferLength
    const { maxBufferLength, maxBufferSize, maxMaxBufferLength } = DEFAULTS;
    const room_s = Math.min(Math.max((8 * maxBufferSize) / level.maxBitrate, maxBufferLength), maxMaxBufferLength);
    if (this.buffered_s - this.position_s >= room_s) return;
    this.#load(index);
  }

  #load(index) {
    const { clock, connection } = this;
    this.#abandon();
    const level = this.#hls.levels[index];
    const { n, duration_s } = this.fragments[this.#next];
    const bytes = level.rung.segment_bytes[n];
    // hls.js asks for the init section and the segment at once; they follow each other on the connection.
    const init = level.hasInit || this.#warm ? null : connection.request(clock.now_ms, BYTES.init, SERVER_MS.object);
    const answer = this.#warm ?? connection.request(clock.now_ms, bytes, SERVER_MS.object);
    this.#warm = null;
    const stats = {
      aborted: false, total: bytes, retry: 0, chunkCount: 0, bwEstimate: 0,
      get loaded() { return this.aborted ? this.loadedWhenAborted : Math.min(bytes, answer.loadedAt(clock.now_ms)); },
      loadedWhenAborted: 0,
      loading: {
        start: answer.start_ms,
        get first() { return clock.now_ms >= answer.first_ms ? answer.first_ms : 0; },
        get end() { return clock.now_ms >= answer.end_ms ? answer.end_ms : 0; },
      },
      parsing: { start: 0, end: 0 },
      buffering: { start: 0, first: 0, end: 0 },
    };
    const fragment = {
      sn: n, level: index, type: 'main', duration: duration_s, bitrate: null, bitrateTest: false, cc: 0, start: this.buffered_s,
      stats, urlId: 0, url: `${level.rung.name}/${n}`, abortRequests: () => this.#abandon(),
    };
    const load = { fragment, ids: [] };
    this.#loading = load;
    this.#hls.trigger(Events.FRAG_LOADING, { frag: fragment, targetBufferTime: this.buffered_s });
    const first_byte_ms = this.start.first_byte_timeout_ms ?? DEFAULTS.fragLoadPolicy.default.maxTimeToFirstByteMs;
    const whole_ms = DEFAULTS.fragLoadPolicy.default.maxLoadTimeMs;
    const gives_up_ms = answer.start_ms + (answer.first_ms - answer.start_ms > first_byte_ms ? first_byte_ms : whole_ms);
    const here_ms = Math.max(answer.end_ms, init?.end_ms ?? 0);
    load.ids.push(here_ms > gives_up_ms ? clock.at(gives_up_ms, () => this.#timeout(load)) : clock.at(here_ms, () => this.#loaded(load, level)));
  }

  /** The error controller's answer to a timeout: the request is made again at once, at the level that is next by then. */
  #timeout(load) {
    this.#hls.trigger(Events.ERROR, { details: ErrorDetails.FRAG_LOAD_TIMEOUT, frag: load.fragment, fatal: false });
    this.#abandon();
    this.#tick();
  }

  #abandon() {
    if (!this.#loading) return;
    const { fragment, ids } = this.#loading;
    fragment.stats.loadedWhenAborted = fragment.stats.loaded;
    fragment.stats.aborted = true;
    for (const id of ids) this.clock.cancel(id);
    this.#loading = null;
  }

  #loaded(load, level) {
    const { clock } = this;
    const { fragment } = load;
    level.hasInit = true;
    this.#hls.trigger(Events.FRAG_LOADED, { frag: fragment, part: null });
    fragment.stats.parsing.start = clock.now_ms;
    load.ids = [clock.after(APPEND_MS, () => this.#appended(fragment, level.rung))];
  }

  #appended(fragment, rung) {
    fragment.stats.parsing.end = this.clock.now_ms;
    this.#loading = null;
    this.#resume(fragment.duration);
    if (this.#last_rung && this.#last_rung !== rung) this.heard.switches += 1;
    this.#last_rung = rung;
    this.heard.kbit += rung.kbps * fragment.duration;
    this.#next += 1;
    this.#hls.trigger(Events.FRAG_BUFFERED, { frag: fragment, part: null, stats: fragment.stats, id: 'main' });
    this.#tick();
  }

  /** More is in the buffer: playing begins, goes on, or goes on for longer. */
  #resume(more_s) {
    const { clock, heard } = this;
    const at_s = this.position_s;
    this.buffered_s += more_s;
    this.#playhead = { at_s, since_ms: clock.now_ms };
    if (heard.startup_ms === null) heard.startup_ms = clock.now_ms;
    if (this.#stalled_since_ms !== null) heard.stalled_ms += clock.now_ms - this.#stalled_since_ms;
    this.#stalled_since_ms = null;
    if (this.#runs_dry !== null) clock.cancel(this.#runs_dry);
    this.#runs_dry = clock.after((this.buffered_s - at_s) * 1000, () => this.#dry());
  }

  #dry() {
    this.#runs_dry = null;
    this.#playhead = { at_s: this.buffered_s, since_ms: null };
    if (this.#next >= this.fragments.length) {
      this.heard.ended = true;
      return;
    }
    this.heard.stalls += 1;
    this.#stalled_since_ms = this.clock.now_ms;
  }
}

function details(song) {
  return { live: false, averagetargetduration: song.duration_s / song.durations_s.length };
}
