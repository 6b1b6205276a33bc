"""Reads playlists from standard input, one JSON string a line, and parses each with the m3u8 package."""

import json
import sys

import m3u8

for line in sys.stdin:
    playlist = m3u8.loads(json.loads(line))
    kind, found = ("multivariant", playlist.playlists) if playlist.is_variant else ("media", playlist.segments)
    print(kind, len(found))
