/** Numbers as people read them. */
import type { Money } from './types';

/** 61500 -> "1:01". Longer than an hour: "1:00:00". */
export function clock(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  const seconds = String(total % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`;
}

/** Said by a screen reader: "1 minute 1 second". */
export function spoken(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(total / 60);
  const seconds = total % 60;
  const unit = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;
  return minutes > 0 ? `${unit(minutes, 'minute')} ${unit(seconds, 'second')}` : unit(seconds, 'second');
}

/** Micro-units to money. Four decimals below one unit, where a listen's worth lives; the server's sums are exact, this is display only. */
export function money(amount: Money): string {
  const small = Math.abs(amount.micros) < 1_000_000 && amount.micros % 10_000 !== 0;
  return new Intl.NumberFormat(undefined, {
    style: 'currency',
    currency: amount.currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: small ? 6 : 2,
  }).format(amount.micros / 1_000_000);
}

export function bytes(n: number): string {
  if (n < 1_000_000) return `${Math.round(n / 1000)} kB`;
  return `${(n / 1_000_000).toFixed(1)} MB`;
}

export function when(rfc3339: string): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(rfc3339));
}

/** "aac-128" -> "AAC 128 kbit/s", "flac" -> "FLAC lossless". */
export function rungName(rung: string): string {
  const [codec, kbps] = rung.split('-');
  if (rung === 'flac') return 'FLAC lossless';
  return kbps ? `${(codec ?? '').toUpperCase()} ${kbps} kbit/s` : rung;
}

/** A steady hue for what has no cover art, so that a track looks the same everywhere. */
export function hue(id: string): number {
  let hash = 0x811c9dc5; // FNV-1a: ids of one day differ only in their tails
  for (const char of id) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) % 360;
}
