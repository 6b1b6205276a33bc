/** The player on lock screens, media keys and headsets. */
import type { Track } from '../types';

export interface Controls {
  play(): void;
  pause(): void;
  next(): void;
  previous(): void;
  seekTo(ms: number): void;
  seekBy(ms: number): void;
}

const STEP_MS = 10_000;

export function announce(track: Track): void {
  if (!navigator.mediaSession) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title: track.title, artist: track.artist, album: track.album ?? '' });
}

export function showPosition(playing: boolean, position_ms: number, duration_ms: number): void {
  if (!navigator.mediaSession) return;
  navigator.mediaSession.playbackState = playing ? 'playing' : 'paused';
  if (duration_ms <= 0) return;
  navigator.mediaSession.setPositionState?.({
    duration: duration_ms / 1000,
    position: Math.min(position_ms, duration_ms) / 1000,
    playbackRate: 1,
  });
}

export function connect(controls: Controls): void {
  if (!navigator.mediaSession) return;
  const actions: Partial<Record<MediaSessionAction, MediaSessionActionHandler>> = {
    play: () => controls.play(),
    pause: () => controls.pause(),
    stop: () => controls.pause(),
    nexttrack: () => controls.next(),
    previoustrack: () => controls.previous(),
    seekto: ({ seekTime }) => seekTime !== undefined && controls.seekTo(seekTime * 1000),
    seekforward: ({ seekOffset }) => controls.seekBy((seekOffset ?? STEP_MS / 1000) * 1000),
    seekbackward: ({ seekOffset }) => controls.seekBy(-(seekOffset ?? STEP_MS / 1000) * 1000),
  };
  for (const [action, handler] of Object.entries(actions)) {
    try {
      navigator.mediaSession.setActionHandler(action as MediaSessionAction, handler);
    } catch {
      // an action this browser does not know
    }
  }
}
