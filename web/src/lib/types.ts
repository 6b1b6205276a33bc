/** The JSON of the public contract, as far as this page reads it. Fields that a newer server adds are ignored. */

export type Role = 'listener' | 'artist' | 'admin';

export interface Account {
  id: string;
  name: string;
  role: Role;
  plan: string;
}

export interface SessionAnswer {
  access_token: string;
  expires_in_s: number;
  refresh_token: string;
  account: Account;
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

/** What the queue and the lists need to know of a track; the answers of search and recommendations are narrowed to it. */
export interface Track {
  id: string;
  title: string;
  artist: string;
  album: string | null;
  duration_ms: number | null;
}

export type FoundKind = 'track' | 'artist' | 'album' | 'playlist';

export interface Found {
  type: FoundKind;
  id: string;
  title: string;
  artist?: string | { name: string } | null;
  album?: string | null;
  duration_ms?: number | null;
  highlights?: { title?: [from: number, to: number][] };
}

export interface Suggestion {
  text: string;
  type: FoundKind;
  id: string;
}

export interface Recommended {
  track: { id: string; title: string; artist?: string | { name: string } | null; album?: string | null; duration_ms?: number | null };
  reason: string;
}

export interface Manifest {
  play: { id: string; ticket: string; expires_at: string; heartbeat_every_ms: number };
  playlist_url: string;
  fallback_playlist_url: string | null;
  start: string;
  allowed: string[];
  lossless: string | null;
  reason: string;
  first: First | null;
  /** What `playlist_url` answers, with absolute paths. */
  multivariant_playlist?: string;
  duration_ms: number;
  loudness: { integrated_lufs: number; true_peak_dbtp: number; gain_db: number } | null;
}

/** What a song begins with. `url` is the init section and segment 0 in one, `init_bytes` of which are the init section. */
export interface First {
  rung: string;
  url?: string;
  init_bytes?: number;
  init_url: string;
  segment_url: string;
  media_playlist: string;
}

export interface HistoryItem {
  play_id: string;
  track: string | { id: string; title?: string; artist?: string | { name: string } };
  started_at: string;
  played_ms: number;
  state: 'open' | 'provisional' | 'final' | 'void';
  reason: string | null;
}

export interface Money {
  micros: number;
  currency: string;
}

export type MemberRole = 'owner' | 'editor' | 'viewer';

/** An artist that this account acts for, or is invited to act for. */
export interface OwnArtist {
  id: string;
  name: string;
  role: MemberRole;
  state: 'invited' | 'active';
}

export interface NewUpload {
  title: string;
  artist_id?: string;
  artist?: string;
  album?: string;
  genre?: string;
  isrc?: string;
  file_name: string;
  content_type: string;
  size_bytes: number;
  sha256: string;
}

export interface UploadAnswer {
  track: { id: string; state: string; title: string };
  upload: { id: string; method: string; url: string; headers: Record<string, string>; expires_at: string };
}

export interface IngestState {
  id: string;
  state: 'pending' | 'uploaded' | 'processing' | 'published' | 'rejected' | 'held' | 'taken_down';
  reason: { code: string; detail: string } | null;
  progress: { rung: string; percent: number }[];
  published_at: string | null;
}

export interface OwnTrack {
  id: string;
  title: string;
  /** Whom it was uploaded for. */
  artist_id?: string;
  state: IngestState['state'];
  reason?: { code: string; detail: string } | null;
}

export interface Statement {
  id: string;
  period: string;
  model: string;
  listens: number;
  amount: Money;
  state: string;
}

export interface StatementLine {
  track: string | { id: string; title?: string };
  listens: number;
  amount: Money;
}

export interface Balance {
  available: Money | number;
  held: Money | number;
  currency: string;
}

/** `artist` is a name in some answers and `{id, name}` in others. */
export function artistName(artist: string | { name: string } | null | undefined): string {
  if (!artist) return 'Unknown artist';
  return typeof artist === 'string' ? artist : artist.name;
}

export function toTrack(found: Pick<Found, 'id' | 'title' | 'artist' | 'album' | 'duration_ms'>): Track {
  return {
    id: found.id,
    title: found.title,
    artist: artistName(found.artist),
    album: found.album ?? null,
    duration_ms: found.duration_ms ?? null,
  };
}
