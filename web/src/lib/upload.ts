/**
 * An upload, step by step: hash the file, ask ingest for a place, PUT the bytes to the object store by its signed URL, then watch
 * ingest until the track is published or refused. The object store's own event starts the processing, nothing here does.
 */
import { session } from './session.svelte';
import type { IngestState, NewUpload, UploadAnswer } from './types';

/** Set by the browser itself; a script that sets them is ignored or refused. */
const BROWSER_SETS = new Set(['content-length', 'host']);
const POLL_FIRST_MS = 500;
const POLL_LAST_MS = 5_000;
const SETTLED = new Set<IngestState['state']>(['published', 'rejected', 'held', 'taken_down']);

export async function sha256(file: Blob): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `key` stays the same when the same upload is tried again, so that one upload is one track. */
export async function begin(upload: NewUpload, key: string): Promise<UploadAnswer> {
  return await session.json<UploadAnswer>('/v1/ingest/upload', { method: 'POST', json: upload, headers: { 'idempotency-key': key } });
}

/** XMLHttpRequest, because fetch tells nothing of the progress of what it sends. */
export function put(target: UploadAnswer['upload'], file: Blob, onProgress: (percent: number) => void, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(target.method, target.url);
    for (const [name, value] of Object.entries(target.headers)) {
      if (!BROWSER_SETS.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => event.lengthComputable && onProgress((event.loaded / event.total) * 100);
    request.onload = () =>
      request.status >= 200 && request.status < 300 ? resolve() : reject(new Error(storeSaid(request.status, request.responseText)));
    request.onerror = () => reject(new Error('The object store cannot be reached.'));
    request.onabort = () => reject(new DOMException('The upload was cancelled.', 'AbortError'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** Follows the track until it is published or refused, asking less often the longer it takes. */
export async function watch(track: string, onState: (state: IngestState) => void, signal: AbortSignal): Promise<IngestState> {
  for (let wait = POLL_FIRST_MS; ; wait = Math.min(POLL_LAST_MS, wait * 1.5)) {
    const state = await session.json<IngestState>(`/v1/ingest/tracks/${encodeURIComponent(track)}`, { signal });
    onState(state);
    if (SETTLED.has(state.state)) return state;
    await pause(wait, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** S3 answers errors in XML with a Code and a Message. */
function storeSaid(status: number, xml: string): string {
  const message = /<Message>([^<]*)<\/Message>/.exec(xml)?.[1];
  return `The object store answered ${status}${message ? `: ${message}` : ''}.`;
}
