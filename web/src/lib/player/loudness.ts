/** Loudness without touching the audio: tracks mastered loud are turned down by the manifest's gain. A gain above 0 dB is left alone: a volume cannot exceed 1. */
export function volumeFor(wanted: number, gain_db: number | null): number {
  const gain = gain_db === null || !Number.isFinite(gain_db) ? 1 : 10 ** (Math.min(0, gain_db) / 20);
  return Math.min(1, Math.max(0, wanted * gain));
}
