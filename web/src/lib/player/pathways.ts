/**
 * A multivariant playlist names each variant once a pathway, for players that are steered from one to the other. Ours turns between the bases
 * in its loader, request by request, and no steering is built in: hls.js would take the pathways for so many qualities. It is given one.
 */

export function onePathway(multivariant: string): string {
  const lines = multivariant.split('\n');
  const steering = lines.find((line) => line.startsWith('#EXT-X-CONTENT-STEERING:'));
  const first = lines.map(pathwayOf).find((pathway) => pathway !== null);
  const wanted = (steering && attribute(steering, 'PATHWAY-ID')) ?? first ?? null;
  if (wanted === null) return multivariant;
  const others = (line: string) => (pathwayOf(line) ?? wanted) !== wanted;
  return lines.filter((line, n) => line !== steering && !others(line) && !others(lines[n - 1] ?? '')).join('\n');
}

/** The pathway of a variant's tag; its URI is the line after. */
function pathwayOf(line: string): string | null {
  return line.startsWith('#EXT-X-STREAM-INF:') ? attribute(line, 'PATHWAY-ID') : null;
}

function attribute(line: string, name: string): string | null {
  return new RegExp(`[:,]${name}="([^"]*)"`).exec(line)?.[1] ?? null;
}
