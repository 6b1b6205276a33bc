// The module 'k6'. Groups and checks are told to the runner, which keeps the tallies.
const native = globalThis.__loadtest_runner;

export function sleep(seconds) {
  native.sleep(Number(seconds));
}

export function fail(message) {
  throw new Error(message ?? 'fail() was called');
}

export function group(name, run) {
  native.groupStart(String(name));
  try {
    return run();
  } finally {
    native.groupEnd();
  }
}

export function check(value, checks, tags) {
  let all = true;
  for (const [name, condition] of Object.entries(checks)) {
    const held = Boolean(typeof condition === 'function' ? condition(value) : condition);
    native.check(name, held, JSON.stringify(tags ?? {}));
    all = all && held;
  }
  return all;
}

export default { sleep, fail, group, check };
