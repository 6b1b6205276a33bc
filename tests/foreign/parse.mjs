// Reads playlists from standard input, one JSON string a line, and parses each with hls-parser: strict about what RFC 8216 demands.
import { createInterface } from "node:readline";
import HLS from "hls-parser";

HLS.setOptions({ strictMode: true });
for await (const line of createInterface({ input: process.stdin })) {
  const playlist = HLS.parse(JSON.parse(line));
  const found = playlist.isMasterPlaylist ? playlist.variants.length : playlist.segments.length;
  console.log(`${playlist.isMasterPlaylist ? "multivariant" : "media"} ${found}`);
}
