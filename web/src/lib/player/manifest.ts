/** A song's manifest: the edge's word on whether it may be heard, in which quality, and where its bytes are. */
import { bases } from '../bases';
import { Problem } from '../http';
import { session } from '../session.svelte';
import type { Manifest } from '../types';
import { cmcd, type Evidence } from './evidence';

/** `ticket` is that of a play which goes on. */
export async function manifestOf(track: string, ticket: string | null, evidence: Evidence): Promise<Manifest> {
  const renewal = ticket ? `&play=${encodeURIComponent(ticket)}` : '';
  try {
    const manifest = await session.json<Manifest>(`/v1/tracks/${encodeURIComponent(track)}/manifest?CMCD=${encodeURIComponent(cmcd(evidence))}${renewal}`);
    bases.learn(manifest.fallback_playlist_url);
    return manifest;
  } catch (error) {
    // A ticket that cannot be renewed means a new play, not silence.
    const spent = ticket !== null && error instanceof Problem && error.status >= 400 && error.status < 500;
    if (!spent) throw error;
    return await manifestOf(track, null, evidence);
  }
}
