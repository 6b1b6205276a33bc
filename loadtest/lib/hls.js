// As much of RFC 8216 as a player of our playlists needs.

/** @param {string} playlist @param {string} base the playlist's own path */
export function variants(playlist, base) {
  return uris(playlist).map((uri) => beside(base, uri));
}

/** @param {string} playlist @param {string} base the playlist's own path */
export function segments(playlist, base) {
  const init = /#EXT-X-MAP:URI="([^"]+)"/.exec(playlist)?.[1] ?? '';
  const durations = [...playlist.matchAll(/#EXTINF:([0-9.]+)/g)].map((match) => Number(match[1]));
  return {
    init: beside(base, init),
    media: uris(playlist).map((uri, index) => ({ url: beside(base, uri), seconds: durations[index] ?? 0 })),
  };
}

/** @param {string} playlist */
function uris(playlist) {
  return playlist.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

/** @param {string} base @param {string} uri */
function beside(base, uri) {
  if (uri.startsWith('/') || uri.startsWith('http')) return uri;
  return base.replace(/[^/]*$/, '') + uri;
}
