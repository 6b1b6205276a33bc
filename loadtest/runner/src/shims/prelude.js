// The globals a k6 script finds before its first line.
const native = globalThis.__loadtest_runner;
const text = (values) => values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))).join(' ');
const log = (level) => (...values) => native.log(level, text(values));

globalThis.console = { log: log('info'), info: log('info'), warn: log('warn'), error: log('error'), debug: log('debug') };
globalThis.open = () => {
  throw new Error('loadtest-runner: open() is not supported: pass what a script needs with -e');
};
