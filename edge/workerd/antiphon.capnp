# The edge Worker on plain workerd, for people with their own machines. README.md beside this file says how to start it.
#
#   front proxy ──unix socket──► edge ──Cache API──► cache (cache.js, memory)
#                                 │ └──────────────► HeartbeatBuffer ──► SQLite below --directory-path heartbeats=DIR
#                                 └──fetch─────────► the gateway
#
# Variables and secrets come from the environment of the workerd process; nothing in this file is one.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "cache", worker = .cache),
    (name = "network", network = .network),
    (name = "heartbeats", disk = (writable = true)),
  ],
  sockets = [(
    name = "edge",
    address = "127.0.0.1:8787",
    service = "edge",
    # Both headers are the front proxy's word. Whoever can reach this socket can write them, so it must be reachable for the proxy alone.
    http = (cfBlobHeader = "antiphon-cf", forwardedProtoHeader = "x-forwarded-proto"),
  )],
);

const edge :Workerd.Worker = (
  compatibilityDate = "2026-11-01",  # equals wrangler.toml
  modules = [
    (name = "index.js", esModule = embed "../build/index.js"),
    (name = "index_bg.wasm", wasm = embed "../build/index_bg.wasm"),
  ],
  # The same names as in wrangler.toml. One that is not set is null, and the Worker answers 503 `edge_not_configured` with its name.
  bindings = [
    (name = "ENVIRONMENT", fromEnvironment = "ENVIRONMENT"),
    (name = "GATEWAY_URL", fromEnvironment = "GATEWAY_URL"),
    (name = "GATEWAY_PUBLIC_URL", fromEnvironment = "GATEWAY_PUBLIC_URL"),
    (name = "BUFFER_SHARDS", fromEnvironment = "BUFFER_SHARDS"),
    (name = "BUFFER_BYTES_MAX", fromEnvironment = "BUFFER_BYTES_MAX"),
    (name = "TOKEN_KEYS", fromEnvironment = "TOKEN_KEYS"),
    (name = "SESSION_JWKS", fromEnvironment = "SESSION_JWKS"),
    (name = "EDGE_SECRET", fromEnvironment = "EDGE_SECRET"),
    (name = "HEARTBEATS", durableObjectNamespace = "HeartbeatBuffer"),
  ],
  durableObjectNamespaces = [
    # The key names the objects of this class for ever: with another one their storage would not be found again.
    (className = "HeartbeatBuffer", uniqueKey = "antiphon-heartbeats", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "heartbeats"),
  cacheApiOutbound = "cache",
  globalOutbound = "network",
);

const cache :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [(name = "cache.js", esModule = embed "cache.js")],
  bindings = [(name = "CACHE_MEGABYTES", fromEnvironment = "CACHE_MEGABYTES")],
);

# The gateway is usually on a private address. No address the Worker asks comes from a client: it asks GATEWAY_URL and nothing else.
const network :Workerd.Network = (
  allow = ["public", "private"],
  tlsOptions = (trustBrowserCas = true),
);
