/**
 * Five kinds of connection, as seeded series of bandwidth and round trip in half-second steps. Their means, spreads and gaps are ours, of
 * the size that published drive tests show (mobile bandwidth is roughly log-normal and correlated over seconds); they are no recordings.
 */
import { Random } from './random.js';

export const STEP_MS = 500;
/** Longer than a song with all its stalls. */
const STEPS = 1800;

/**
 * @typedef {object} Shape
 * @property {number} median_kbps
 * @property {number} spread standard deviation of the logarithm
 * @property {number} rtt_ms
 * @property {number} rtt_spread
 * @property {Dip[]} dips
 * @typedef {object} Dip
 * @property {[number, number]} first_s when the first begins, at the earliest and latest
 * @property {number} every_s mean time from the end of one to the next
 * @property {[number, number]} for_s
 * @property {number} factor what is left of the bandwidth; 0 is an outage
 */

/** @type {Record<string, Shape>} */
export const SHAPES = {
  '3G': {
    median_kbps: 420, spread: 0.5, rtt_ms: 130, rtt_spread: 0.25,
    dips: [{ first_s: [0, 60], every_s: 40, for_s: [4, 12], factor: 0.2 }],
  },
  LTE: {
    median_kbps: 6000, spread: 0.6, rtt_ms: 45, rtt_spread: 0.2,
    dips: [{ first_s: [0, 60], every_s: 60, for_s: [3, 10], factor: 0.08 }, { first_s: [0, 90], every_s: 90, for_s: [0.5, 1], factor: 0 }],
  },
  tunnel: {
    median_kbps: 2500, spread: 0.5, rtt_ms: 60, rtt_spread: 0.25,
    dips: [{ first_s: [0, 40], every_s: 60, for_s: [12, 40], factor: 0 }],
  },
  'office wifi': {
    median_kbps: 25_000, spread: 0.3, rtt_ms: 12, rtt_spread: 0.4,
    dips: [{ first_s: [0, 8], every_s: 8, for_s: [0.5, 2], factor: 0.03 }],
  },
  satellite: {
    median_kbps: 8000, spread: 0.4, rtt_ms: 600, rtt_spread: 0.05,
    dips: [{ first_s: [0, 60], every_s: 60, for_s: [5, 15], factor: 0.05 }],
  },
};

/** Correlation of one step with the next. */
const INERTIA = 0.9;

export class Trace {
  /** @param {ArrayLike<number>} kbps @param {ArrayLike<number>} rtt_ms one value a step; the last goes on for ever */
  constructor(kbps, rtt_ms) {
    this.kbps = kbps;
    this.rtt_ms = rtt_ms;
  }

  #at(series, at_ms) {
    return series[Math.min(Math.floor(at_ms / STEP_MS), series.length - 1)];
  }

  kbpsAt(at_ms) {
    return this.#at(this.kbps, at_ms);
  }

  rttAt(at_ms) {
    return this.#at(this.rtt_ms, at_ms);
  }
}

/** The connection called `name`, on its `seed`-th occasion. */
export function trace(name, seed) {
  const shape = SHAPES[name];
  const random = new Random('trace', name, seed);
  const kbps = new Float64Array(STEPS);
  const rtt_ms = new Float64Array(STEPS);
  // One place differs from another by as much as one place does over time.
  const place = shape.median_kbps * Math.exp(random.normal() * shape.spread * 0.7);
  let weather = random.normal();
  for (let step = 0; step < STEPS; step++) {
    weather = INERTIA * weather + Math.sqrt(1 - INERTIA ** 2) * random.normal();
    kbps[step] = place * Math.exp(weather * shape.spread * 0.7);
    rtt_ms[step] = shape.rtt_ms * Math.exp(random.normal() * shape.rtt_spread);
  }
  for (const dip of shape.dips) {
    let at_s = random.between(...dip.first_s);
    while (at_s * 1000 < STEPS * STEP_MS) {
      const until_s = at_s + random.between(...dip.for_s);
      const [from, until] = [at_s, until_s].map((s) => Math.min(STEPS, Math.round((s * 1000) / STEP_MS)));
      for (let step = from; step < until; step++) kbps[step] *= dip.factor;
      at_s = until_s + random.exponential(dip.every_s);
    }
  }
  return new Trace(kbps, rtt_ms);
}
