// The module 'k6/http', as far as our scripts use it. What is missing says so by name.
const native = globalThis.__loadtest_runner;
const KNOWN_PARAMS = new Set(['headers', 'tags', 'timeout', 'redirects', 'responseType', 'responseCallback']);

class Response {
  constructor(raw) {
    Object.assign(this, raw);
  }

  json(selector) {
    if (selector !== undefined) throw new Error("loadtest-runner: Response.json(selector) is not supported: use json().field");
    return JSON.parse(this.body);
  }
}

class ExpectedStatuses {
  constructor(statuses) {
    this.statuses = statuses;
  }
  allows(status) {
    return this.statuses.some((wanted) => (typeof wanted === 'number' ? wanted === status : status >= wanted.min && status <= wanted.max));
  }
}

let expected = new ExpectedStatuses([{ min: 200, max: 399 }]);

export function expectedStatuses(...statuses) {
  return new ExpectedStatuses(statuses);
}

export function setResponseCallback(callback) {
  expected = callback;
}

export function request(method, url, body = null, params = {}) {
  for (const name of Object.keys(params ?? {})) {
    if (!KNOWN_PARAMS.has(name)) throw new Error(`loadtest-runner: the request parameter ${name} is not supported`);
  }
  const headers = { ...params?.headers };
  const named = (name) => Object.keys(headers).some((header) => header.toLowerCase() === name);
  let bytes = body;
  if (body !== null && body !== undefined && typeof body === 'object' && !(body instanceof ArrayBuffer)) {
    bytes = Object.entries(body).map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&');
    if (!named('content-type')) headers['Content-Type'] = 'application/x-www-form-urlencoded';
  }
  const callback = params?.responseCallback === undefined ? expected : params.responseCallback;
  const raw = native.request(String(method).toUpperCase(), String(url), bytes ?? null, JSON.stringify({
    headers: Object.entries(headers).map(([name, value]) => [name, String(value)]),
    tags: params?.tags ?? {},
    timeout: params?.timeout ?? null,
    redirects: params?.redirects ?? 10,
    response_type: params?.responseType ?? null,
  }), (status) => (callback === null ? null : callback.allows(status)));
  return new Response(raw);
}

export const get = (url, params) => request('GET', url, null, params);
export const head = (url, params) => request('HEAD', url, null, params);
export const post = (url, body, params) => request('POST', url, body, params);
export const put = (url, body, params) => request('PUT', url, body, params);
export const patch = (url, body, params) => request('PATCH', url, body, params);
export const del = (url, body, params) => request('DELETE', url, body, params);
export const options = (url, body, params) => request('OPTIONS', url, body, params);

const supported = { request, get, head, post, put, patch, del, options, expectedStatuses, setResponseCallback };

export default new Proxy(supported, {
  get(target, name) {
    if (name in target || typeof name === 'symbol') return target[name];
    throw new Error(`loadtest-runner: http.${String(name)} is not supported`);
  },
});
