/** The table: a row a trace and side, with ratios to stock hls.js, and whether the goals are reached. */

const STOCK = 'stock hls.js';
/** No trace with more stalls than stock hls.js, and start-up in at most this share of its time. */
const STARTUP_RATIO_MAX = 0.7;
const GOALS = `nowhere more stalls than stock hls.js, start-up at the median in at most ${STARTUP_RATIO_MAX} x its time`;

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

export function summary(plays) {
  const of = (key) => plays.map((play) => play[key]);
  return {
    stalls: of('stalls').reduce((sum, n) => sum + n, 0),
    stalled_s: of('stalled_ms').reduce((sum, ms) => sum + ms, 0) / 1000,
    p50_ms: quantile(of('startup_ms'), 0.5),
    p95_ms: quantile(of('startup_ms'), 0.95),
    kbps: mean(of('kbps')),
    switches: mean(of('switches')),
  };
}

/** @param {Record<string, Record<string, object[]>>} plays by trace and side */
export function table(plays, seeds) {
  const lines = [
    `${seeds} seeds a trace; a song of 212 s; stalls are of all seeds together; ratios are to stock hls.js on the same seeds.`,
    '',
    '| trace | side | stalls | stalled s | start-up p50 ms | p95 ms | p50 ratio | p95 ratio | mean kbit/s | switches a play |',
    '|---|---|--:|--:|--:|--:|--:|--:|--:|--:|',
  ];
  const misses = [];
  for (const [trace, sides] of Object.entries(plays)) {
    const stock = summary(sides[STOCK]);
    for (const [side, heard] of Object.entries(sides)) {
      const row = summary(heard);
      const [p50, p95] = [row.p50_ms / stock.p50_ms, row.p95_ms / stock.p95_ms];
      const cells = [trace, side, row.stalls, row.stalled_s.toFixed(1), row.p50_ms.toFixed(0), row.p95_ms.toFixed(0)];
      lines.push(`| ${[...cells, p50.toFixed(2), p95.toFixed(2), row.kbps.toFixed(0), row.switches.toFixed(2)].join(' | ')} |`);
      if (side.startsWith('ours')) misses.push(...missed(row, stock).map((miss) => `- ${trace}, ${side}: ${miss}`));
    }
  }
  lines.push('', misses.length === 0 ? `Goals reached: ${GOALS}.` : `Goals (${GOALS}) missed:\n${misses.join('\n')}`);
  return lines.join('\n');
}

function missed(row, stock) {
  const misses = [];
  if (row.stalls > stock.stalls) misses.push(`${row.stalls} stalls, stock ${stock.stalls}`);
  const ratio = row.p50_ms / stock.p50_ms;
  if (ratio > STARTUP_RATIO_MAX) misses.push(`start-up ${ratio.toFixed(3)} x of stock's at the median`);
  return misses;
}
