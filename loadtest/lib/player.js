// One play: a player's heartbeats, numbered and reported as the page's player does.
import { sleep } from 'k6';
import { fresh, post } from './api.js';
import { settings } from './settings.js';

/** @typedef {{ticket: string, heartbeat_every_ms: number}} Play */
/** @typedef {{seq: number, kind: string, from_ms: number, to_ms: number, muted: boolean, background: boolean}} PlayEvent */

export class Heartbeats {
  /** @param {Play} play */
  constructor(play) {
    this.play = play;
    this.sender = fresh();
    this.seq = 0;
    this.heardMs = 0;
  }

  /** Reports what was heard since the last event. @param {string} kind @param {number} untilMs */
  report(kind, untilMs) {
    const to_ms = Math.max(this.heardMs, Math.round(untilMs));
    /** @type {PlayEvent} */
    const event = { seq: this.seq, kind, from_ms: this.heardMs, to_ms, muted: false, background: false };
    const answer = post('play-event', '/v1/me/play-event', { ticket: this.play.ticket, sender: this.sender, events: [event] });
    this.seq += 1;
    this.heardMs = to_ms;
    return answer;
  }
}

/** Lets media of this length play. @param {number} seconds */
export function hear(seconds) {
  if (settings.pace > 0) sleep(seconds * settings.pace);
}
