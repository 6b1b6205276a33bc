/**
 * One connection over a trace: when the first byte of an answer comes and how its bytes follow. Slow start in rounds, as TCP and QUIC have
 * it: ten segments (RFC 6928), one round trip for their acknowledgements, twice as many, until the path is full; again after an idle
 * second (RFC 5681, 4.1). In an outage what is lost is sent again after 1, 2, 4 ... times the timeout (RFC 6298, 5.5). No losses and no
 * queues: they would fall on both sides alike. Answers do not slow each other; only a small playlist ever comes beside a segment.
 */
import { STEP_MS } from './traces.js';

const WINDOW_BYTES_MIN = 10 * 1460;
const IDLE_MS = 1000;
const TIMEOUT_MS_MIN = 1000;

export class Connection {
  #window_bytes = WINDOW_BYTES_MIN;
  #last_ms = -Infinity;

  /** @param {import('./traces.js').Trace} trace */
  constructor(trace) {
    this.trace = trace;
  }

  /** An answer of `bytes` to a request made at `start_ms`, which the server ponders for `server_ms`. */
  request(start_ms, bytes, server_ms) {
    const rtt_ms = this.trace.rttAt(start_ms);
    const first_ms = this.#through(start_ms, rtt_ms) + rtt_ms + server_ms;
    if (start_ms - this.#last_ms > IDLE_MS) this.#window_bytes = WINDOW_BYTES_MIN;
    const curve = this.#deliver(first_ms, bytes, rtt_ms);
    this.#last_ms = curve.at(-1).at_ms;
    return new Answer(start_ms, first_ms, bytes, curve);
  }

  /** The first instant from `at_ms` on at which something sent, and sent again, gets through. */
  #through(at_ms, rtt_ms) {
    let wait_ms = Math.max(TIMEOUT_MS_MIN, 2 * rtt_ms);
    while (this.trace.kbpsAt(at_ms) === 0) {
      at_ms += wait_ms;
      wait_ms *= 2;
    }
    return at_ms;
  }

  #deliver(first_ms, bytes, rtt_ms) {
    const curve = [{ at_ms: first_ms, bytes: 0 }];
    let at_ms = first_ms;
    let sent = 0;
    for (;;) {
      const round_ms = at_ms;
      const until = Math.min(bytes, sent + this.#window_bytes);
      while (sent < until) {
        at_ms = this.#through(at_ms, rtt_ms);
        const rate = this.trace.kbpsAt(at_ms) / 8; // bytes a millisecond
        const step_ends_ms = (Math.floor(at_ms / STEP_MS) + 1) * STEP_MS;
        const for_ms = Math.min(step_ends_ms - at_ms, (until - sent) / rate);
        // What is left of rounding is no byte.
        sent = until - sent - rate * for_ms < 1e-6 ? until : sent + rate * for_ms;
        at_ms += for_ms;
        curve.push({ at_ms, bytes: sent });
      }
      // An answer that does not fill the window is no reason to open it (RFC 7661).
      if (sent >= bytes) return curve;
      const path_bytes = Math.max(WINDOW_BYTES_MIN, 2 * (this.trace.kbpsAt(at_ms) / 8) * rtt_ms);
      this.#window_bytes = Math.min(this.#window_bytes * 2, path_bytes);
      // The next window opens when the first of this one is acknowledged.
      if (round_ms + rtt_ms > at_ms) curve.push({ at_ms: (at_ms = round_ms + rtt_ms), bytes: sent });
    }
  }
}

/** An answer under way. */
export class Answer {
  #curve;

  constructor(start_ms, first_ms, bytes, curve) {
    this.start_ms = start_ms;
    this.first_ms = first_ms;
    this.bytes = bytes;
    this.end_ms = curve.at(-1).at_ms;
    this.#curve = curve;
  }

  /** Bytes that are here at `at_ms`. */
  loadedAt(at_ms) {
    const next = this.#curve.findIndex((point) => point.at_ms > at_ms);
    if (next < 0) return this.bytes;
    if (next === 0) return 0;
    const [before, after] = [this.#curve[next - 1], this.#curve[next]];
    return Math.floor(before.bytes + ((after.bytes - before.bytes) * (at_ms - before.at_ms)) / (after.at_ms - before.at_ms));
  }
}
