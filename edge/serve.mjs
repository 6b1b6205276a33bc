// Serves the built Worker on this machine, under the control of a supervisor.
//
//   node edge/serve.mjs --port 8787 --state .antiphon/edge --vars vars.json [--host 127.0.0.1] [--assets web/dist] [--config wrangler.toml]
//                       [--entry MODULE]
//
// --entry is a module that stands before the Worker and imports it as ./index.js: a test's way to make the platform fail.
//
// Its bindings come from wrangler.toml through wrangler itself, its variables (secrets too) from the JSON file --vars,
// its code from edge/build. It runs the workerd that the pinned wrangler ships, through the Miniflare inside it.
// One JSON line on stdout says that it serves: {"ready":true,"url":...,"workerd_pid":...}; everything else is on stderr.
//
// Exit codes: 0 after SIGTERM or SIGINT; 64 for bad arguments; 69 when it cannot start; 70 when workerd ended by itself,
// so that the supervisor starts both again. workerd never outlives this process, even after kill -9 of it.

import { subscribe } from "node:diagnostics_channel";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.dirname(HERE);
const EXIT = { usage: 64, cannotStart: 69, runtimeEnded: 70 };

const started = [];
let stopping = false;

// Node tells of every child it spawns on this channel: the one way to learn the runtime's pid and death without a private field.
subscribe("child_process", ({ process: child }) => {
  started.push(child);
  child.once("exit", (code, signal) => {
    if (stopping || !isRuntime(child)) return;
    log("the runtime ended by itself", { pid: child.pid, code, signal });
    end(EXIT.runtimeEnded);
  });
});

function isRuntime(child) {
  return child.spawnargs?.includes("serve") === true;
}

function end(code) {
  stopping = true;
  for (const child of started) {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  }
  process.exit(code);
}

function log(message, fields = {}) {
  process.stderr.write(`${JSON.stringify({ level: "info", role: "edge", message, ...fields })}\n`);
}

/** A line of the Worker's console is a JSON object: it passes as it is. What the runtime itself says is text. */
function workerLine({ level, message }) {
  try {
    const line = JSON.parse(message);
    if (typeof line.event === "string") return log(line.event, { source: "worker", ...line });
  } catch {
    // Not ours.
  }
  log(message, { level, source: "runtime" });
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      port: { type: "string" },
      host: { type: "string", default: "127.0.0.1" },
      state: { type: "string" },
      vars: { type: "string" },
      assets: { type: "string" },
      config: { type: "string", default: path.join(ROOT, "wrangler.toml") },
      entry: { type: "string" },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error("--port needs a number between 0 and 65535");
  if (!values.state) throw new Error("--state needs a directory");
  if (!values.vars) throw new Error("--vars needs a JSON file of variables");
  return { ...values, port, state: path.resolve(values.state), vars: path.resolve(values.vars) };
}

function readVariables(file) {
  const variables = JSON.parse(readFileSync(file, "utf8"));
  for (const [name, value] of Object.entries(variables)) {
    if (typeof value !== "string") throw new Error(`${file}: ${name} must be a string`);
  }
  return variables;
}

// Where Linux can do it, the kernel kills workerd when this process dies, however it dies: the port is then free for the next start.
function bindRuntimeToThisProcess(state, workerd) {
  const setpriv = "/usr/bin/setpriv";
  if (!existsSync(setpriv)) return;
  const launcher = path.join(state, "workerd-bound.sh");
  writeFileSync(launcher, `#!/bin/sh\nexec ${setpriv} --pdeathsig KILL '${workerd}' "$@"\n`, { mode: 0o755 });
  process.env.MINIFLARE_WORKERD_PATH = launcher;
}

async function serve(options) {
  process.env.WRANGLER_SEND_METRICS = "false";
  process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
  process.env.WRANGLER_LOG ??= "warn";
  mkdirSync(options.state, { recursive: true });

  const require = createRequire(import.meta.url);
  const wrangler = require("wrangler");
  // Miniflare is wrangler's own dependency: its version is always the one wrangler was tested with.
  const { Miniflare, Log, LogLevel, convertV4MiniflareOptions } = createRequire(require.resolve("wrangler"))("miniflare");
  const { default: workerd } = createRequire(require.resolve("wrangler"))("workerd");
  bindRuntimeToThisProcess(options.state, workerd);

  const config = wrangler.unstable_readConfig({ config: options.config });
  const assets = path.resolve(options.assets ?? config.assets?.directory ?? "");
  const { workerOptions, main } = wrangler.unstable_getMiniflareWorkerOptions(options.config, undefined, {
    overrides: { assets: { directory: assets } },
  });
  if (!existsSync(main)) throw new Error(`${main} is missing: build the Worker first`);
  const { modulesRules: _, ...worker } = workerOptions;
  if (!existsSync(assets)) {
    log(`${assets} is missing: no pages are served`, { level: "warn" });
    delete worker.assets;
  }
  const bundle = path.dirname(main);
  const entry = options.entry ? [{ type: "ESModule", path: path.join(bundle, "entry.mjs"), contents: readFileSync(options.entry, "utf8") }] : [];
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: options.host,
      port: options.port,
      log: new Log(LogLevel.WARN),
      logRequests: false,
      cf: false,
      resourcePersistencePath: path.join(options.state, "persist"),
      handleStructuredLogs: workerLine,
      workers: [
        {
          ...worker,
          name: config.name,
          bindings: { ...worker.bindings, ...readVariables(options.vars) },
          modulesRoot: bundle,
          modules: [
            ...entry,
            { type: "ESModule", path: main },
            { type: "CompiledWasm", path: path.join(bundle, "index_bg.wasm") },
          ],
        },
      ],
    }),
  );
  const url = await miniflare.ready;
  const runtime = started.find((child) => isRuntime(child) && child.exitCode === null);
  process.stdout.write(`${JSON.stringify({ ready: true, url: url.origin, workerd_pid: runtime?.pid })}\n`);
}

process.on("SIGTERM", () => end(0));
process.on("SIGINT", () => end(0));
process.on("unhandledRejection", (error) => {
  log(String(error?.stack ?? error), { level: "error" });
  end(EXIT.cannotStart);
});

let options;
try {
  options = readArguments();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(EXIT.usage);
}
try {
  await serve(options);
} catch (error) {
  log(String(error?.stack ?? error), { level: "error" });
  end(EXIT.cannotStart);
}
