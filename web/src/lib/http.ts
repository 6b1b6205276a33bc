/** One HTTP call to whichever base answers, and the service's problem+json as an exception. */
import { bases, type BaseName } from './bases';

const TIMEOUT_MS = 15_000;

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfterS: number | null = null,
    readonly errors: { pointer: string; detail: string }[] = [],
  ) {
    super(detail);
    this.name = 'Problem';
  }

  /** No base answered at all. */
  get unreachable(): boolean {
    return this.status === 0;
  }
}

export interface Call {
  method?: string;
  json?: unknown;
  headers?: Record<string, string>;
  bearer?: string | null;
  signal?: AbortSignal;
}

/** Answers of a front that lost its back: the other base may do better. */
const isGatewayTrouble = (status: number) => status === 502 || status === 504;

export async function call(path: string, how: Call = {}): Promise<Response> {
  const first = bases.current;
  const second = bases.other(first);
  try {
    const answer = await attempt(first, path, how);
    if (!isGatewayTrouble(answer.status) || !second || !repeatable(how)) return await checked(answer);
  } catch (error) {
    if (error instanceof Problem || how.signal?.aborted) throw error;
    if (!second || !repeatable(how)) throw unreachable();
  }
  try {
    const answer = await attempt(second, path, how);
    bases.failed(first);
    return await checked(answer);
  } catch (error) {
    if (error instanceof Problem || how.signal?.aborted) throw error;
    throw unreachable();
  }
}

export async function callJson<T>(path: string, how: Call = {}): Promise<T> {
  const answer = await call(path, how);
  return (await answer.json()) as T;
}

/** A call that may have been carried out before its answer was lost is only repeated where that changes nothing. */
function repeatable(how: Call): boolean {
  const method = how.method ?? 'GET';
  return method !== 'POST' || how.headers?.['idempotency-key'] !== undefined;
}

function attempt(base: BaseName, path: string, how: Call): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json', ...how.headers };
  if (how.bearer) headers.authorization = `Bearer ${how.bearer}`;
  if (how.json !== undefined) headers['content-type'] = 'application/json';
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return fetch(bases.origin(base) + path, {
    method: how.method ?? 'GET',
    headers,
    body: how.json === undefined ? undefined : JSON.stringify(how.json),
    signal: how.signal ? AbortSignal.any([how.signal, timeout]) : timeout,
    credentials: 'omit',
  });
}

async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  throw await problemOf(answer);
}

export async function problemOf(answer: Response): Promise<Problem> {
  const retryAfter = Number(answer.headers.get('retry-after'));
  const body = (await answer.json().catch(() => ({}))) as Partial<{ code: string; detail: string; title: string; errors: Problem['errors'] }>;
  return new Problem(
    answer.status,
    body.code ?? `http_${answer.status}`,
    body.detail ?? body.title ?? `The service answered ${answer.status}.`,
    Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : null,
    body.errors ?? [],
  );
}

function unreachable(): Problem {
  return new Problem(0, 'unreachable', 'The service cannot be reached. Check the connection and try again.');
}

/** What to show a person for any exception. */
export function describe(error: unknown): string {
  if (error instanceof Problem) {
    const first = error.errors[0];
    return first ? `${error.message} (${first.pointer}: ${first.detail})` : error.message;
  }
  return error instanceof Error ? error.message : String(error);
}
