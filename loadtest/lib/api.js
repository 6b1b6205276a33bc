// The calls of the public contract, each tagged with the name that thresholds select.
import http from 'k6/http';
import { settings } from './settings.js';

const JSON_TYPE = { 'Content-Type': 'application/json', Accept: 'application/json' };

/** @param {string} path a path of this service, or an absolute URL */
export const at = (path) => (path.startsWith('http') ? path : settings.baseUrl + path);

/** @param {string} name @param {string} path @param {Record<string, string>} [headers] */
export function get(name, path, headers = {}) {
  return http.get(at(path), { headers, tags: { name } });
}

/** The body is kept out of the way: only its length and timing matter. @param {string} name @param {string} path */
export function media(name, path) {
  return http.get(at(path), { tags: { name }, responseType: 'binary' });
}

/** @param {string} name @param {string} path @param {unknown} body @param {Record<string, string>} [headers] */
export function post(name, path, body, headers = {}) {
  return http.post(at(path), JSON.stringify(body), { headers: { ...JSON_TYPE, ...headers }, tags: { name } });
}

/** @param {string} token */
export const bearer = (token) => ({ Authorization: `Bearer ${token}`, Accept: 'application/json' });

/** A name that no other run has. */
export const fresh = () => `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 10)}`;
