/**
 * What this page knows of its connection, in the words of CMCD (CTA-5004, version 1): the edge chooses the quality by it. Comes from the
 * player's own measurements and from the listener's wish to save data; goes into the manifest's query and the segments' request header.
 */

export interface Evidence {
  /** What the last play measured on this page. */
  throughput_kbps: number | null;
  /** Media held ahead of the playhead when the request is made. */
  buffer_ms: number;
  /** The listener wants little data used. A page cannot set `Save-Data`; `rtp`, the most it asks to be delivered, says the same. */
  dataSaver: boolean;
}

/** Enough for the smallest rung with its headroom, and for no other. */
const SAVING_KBPS = 100;
/** The precision CTA-5004 gives both `bl` (ms) and `mtp`, `rtp` (kbit/s). */
const STEP = 100;
const SAVER = 'antiphon.data-saver';

/** Keys in alphabetical order, as CTA-5004 section 3 asks. */
export function cmcd(evidence: Evidence): string {
  const said = [`bl=${stepped(evidence.buffer_ms)}`];
  if (evidence.throughput_kbps !== null) said.push(`mtp=${Math.max(STEP, stepped(evidence.throughput_kbps))}`);
  if (evidence.dataSaver) said.push(`rtp=${SAVING_KBPS}`);
  return said.join(',');
}

/** The segment after the one at `url`, as CMCD's `nor`: the edge may fetch it while this one travels. */
export function nextObject(url: string): string | null {
  const number = /\/(\d+)\.m4s(?:\?|$)/.exec(url)?.[1];
  return number === undefined ? null : `nor="${Number(number) + 1}.m4s"`;
}

/** The listener's own word, or else the browser's. */
export function recallDataSaver(): boolean {
  try {
    const word = localStorage.getItem(SAVER);
    if (word !== null) return word === '1';
  } catch {
    // storage is switched off
  }
  const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
  return connection?.saveData === true;
}

export function rememberDataSaver(on: boolean): void {
  try {
    localStorage.setItem(SAVER, on ? '1' : '0');
  } catch {
    // storage is switched off: the wish lives as long as the page
  }
}

function stepped(value: number): number {
  return Math.max(0, Math.round(value / STEP) * STEP);
}
