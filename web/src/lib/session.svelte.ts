/**
 * Who is logged in. Tokens come from POST /v1/sessions and live in localStorage, shared by all tabs of this browser.
 * A refresh token may be spent once: spending it twice revokes the family. So tabs take turns under a Web Lock, and read what another
 * tab has stored before they ask.
 */
import { call, callJson, Problem, type Call } from './http';
import type { Account, Role, SessionAnswer } from './types';

const KEY = 'antiphon.session';
/** Refreshed this long before it runs out, so that no call is made with a token that dies on the way. */
const EARLY_MS = 30_000;

interface Stored {
  access_token: string;
  refresh_token: string;
  expires_at_ms: number;
  account: Account;
}

class Session {
  account = $state<Account | null>(null);
  #stored: Stored | null = null;

  constructor() {
    this.#adopt(read());
    globalThis.addEventListener?.('storage', (event) => {
      if (event.key === KEY) this.#adopt(read());
    });
  }

  async logIn(email: string, password: string): Promise<void> {
    this.#keep(await callJson<SessionAnswer>('/v1/sessions', { method: 'POST', json: { email, password } }));
  }

  async signUp(account: { email: string; password: string; name: string; role: Role; country: string }): Promise<void> {
    await call('/v1/accounts', { method: 'POST', json: account });
    await this.logIn(account.email, account.password);
  }

  async logOut(): Promise<void> {
    const bearer = this.#stored?.access_token;
    this.#forget();
    // The tokens are gone from here whatever happens; a service that cannot be reached lets them run out.
    if (bearer) await call('/v1/sessions', { method: 'DELETE', bearer }).catch(() => undefined);
  }

  /** A call as this account. Refreshes before expiry, and once more when the service says the token is over. */
  async call(path: string, how: Call = {}): Promise<Response> {
    const bearer = await this.#bearer(false);
    try {
      return await call(path, { ...how, bearer });
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401 || error.code === 'ticket_expired') throw error;
      const fresh = await this.#bearer(true);
      if (!fresh || fresh === bearer) throw error;
      return await call(path, { ...how, bearer: fresh });
    }
  }

  async json<T>(path: string, how: Call = {}): Promise<T> {
    const answer = await this.call(path, how);
    return (await answer.json()) as T;
  }

  async #bearer(force: boolean): Promise<string | null> {
    const stored = this.#stored;
    if (!stored) return null;
    if (!force && stored.expires_at_ms - EARLY_MS > Date.now()) return stored.access_token;
    return inTurn(() => this.#refresh(stored.access_token));
  }

  async #refresh(spent: string): Promise<string | null> {
    const stored = read();
    if (!stored) return null;
    if (stored.access_token !== spent) {
      this.#adopt(stored); // another tab, or an earlier call, was faster
      return stored.access_token;
    }
    try {
      const answer = await callJson<SessionAnswer>('/v1/sessions/refresh', { method: 'POST', json: { refresh_token: stored.refresh_token } });
      this.#keep(answer);
      return answer.access_token;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        this.#forget();
        return null;
      }
      // Identity is away. The old token still opens manifests (play_until), so music goes on.
      return stored.access_token;
    }
  }

  #keep(answer: SessionAnswer): void {
    const stored: Stored = {
      access_token: answer.access_token,
      refresh_token: answer.refresh_token,
      expires_at_ms: Date.now() + answer.expires_in_s * 1000,
      account: answer.account,
    };
    write(stored);
    this.#adopt(stored);
  }

  #adopt(stored: Stored | null): void {
    this.#stored = stored;
    this.account = stored?.account ?? null;
  }

  #forget(): void {
    write(null);
    this.#adopt(null);
  }
}

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  // Without Web Locks (an old browser) two tabs could refresh at once; one of them would have to log in again.
  return navigator.locks ? (navigator.locks.request('antiphon.session', work) as Promise<T>) : work();
}

function read(): Stored | null {
  try {
    const text = localStorage.getItem(KEY);
    return text ? (JSON.parse(text) as Stored) : null;
  } catch {
    return null;
  }
}

function write(stored: Stored | null): void {
  try {
    if (stored) localStorage.setItem(KEY, JSON.stringify(stored));
    else localStorage.removeItem(KEY);
  } catch {
    // Storage is switched off: the session lives as long as the page.
  }
}

export const session = new Session();
