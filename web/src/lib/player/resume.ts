/** What was playing, across a reload: the queue, the track, where in it, and the play's ticket so that the same play goes on. */
import type { Track } from '../types';

const KEY = 'antiphon.playing';
const VOLUME = 'antiphon.volume';
/** A queue longer than this is cut around the current track: localStorage is small. */
const MAX_QUEUE = 200;

export interface Resume {
  queue: Track[];
  index: number;
  position_ms: number;
  ticket: string | null;
  ticket_expires_at: string | null;
}

export function remember(resume: Resume): void {
  const from = Math.max(0, Math.min(resume.index - MAX_QUEUE / 2, resume.queue.length - MAX_QUEUE));
  const cut = { ...resume, queue: resume.queue.slice(from, from + MAX_QUEUE), index: resume.index - from };
  keep(KEY, JSON.stringify(cut));
}

export function recall(): Resume | null {
  try {
    const resume = JSON.parse(localStorage.getItem(KEY) ?? 'null') as Resume | null;
    if (!resume || !resume.queue[resume.index]) return null;
    const over = !resume.ticket_expires_at || Date.parse(resume.ticket_expires_at) <= Date.now();
    return over ? { ...resume, ticket: null, ticket_expires_at: null } : resume;
  } catch {
    return null;
  }
}

export function forget(): void {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // storage is switched off
  }
}

export function rememberVolume(volume: number): void {
  keep(VOLUME, String(volume));
}

export function recallVolume(): number {
  try {
    const volume = Number(localStorage.getItem(VOLUME) ?? '0.9');
    return volume >= 0 && volume <= 1 ? volume : 0.9;
  } catch {
    return 0.9;
  }
}

function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // storage is full or switched off: a reload will begin afresh
  }
}
