// Verifies a media token, or a session, N times a request, by the Worker's own code in WebAssembly and by WebCrypto. A Worker's clock stands still
// while it computes, so the caller measures from outside, and takes the slope over N. The answer is how many were valid.
//
//   /wasm?n=N               a media token in, yes or no out: decoding, HMAC, comparison, fields
//   /receipt-wasm?n=N       the same, and the receipt that a segment is answered with
//   /webcrypto?n=N          a media token with js/tokens.js
//   /sign?n=N               crypto.subtle.sign of the token's 81 bytes alone, which is the least that any JavaScript verifier must do
//   /session-wasm?n=N       a session (Ed25519)
//   /session-webcrypto?n=N  the same with js/tokens.js

import { authenticate, decode, readKeys, verifyToken } from "./tokens.js";
import module from "./verify.wasm";

// wasm-bindgen, a dependency of a dependency, leaves imports of which no function here makes use.
const unused = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  (unused[from] ??= {})[name] = () => {
    throw new Error(`${name} is called after all`);
  };
}
const { exports } = new WebAssembly.Instance(module, unused);
const encoder = new TextEncoder();
const TEXT_CHARS_MAX = 4_096;
const place = exports.reserve(TEXT_CHARS_MAX);
let keys;

/** Writes a text where the module reads it, and answers its length. */
const pass = (text) => encoder.encodeInto(text, new Uint8Array(exports.memory.buffer, place, TEXT_CHARS_MAX)).written;

const ways = {
  "/wasm": (token, now) => exports.verify(place, pass(token), now) === 1,
  "/receipt-wasm": (token, now) => exports.verify_and_receipt(place, pass(token), now) === 1,
  "/webcrypto": async (token, now) => (await verifyToken(keys, token, 1, now)) !== undefined,
  "/session-wasm": (jwt, now) => exports.verify_session(place, pass(jwt), now) === 1,
  "/session-webcrypto": async (jwt) => (await authenticate(keys, jwt)) !== undefined,
};

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const [n, text, now] = [Number(searchParams.get("n")), searchParams.get("text"), Date.now()];
    if (keys === undefined) {
      keys = await readKeys(env);
      if (exports.set_keys(place, pass(env.TOKEN_KEYS)) !== 1 || exports.set_jwks(place, pass(env.SESSION_JWKS)) !== 1) return new Response("unusable keys", { status: 500 });
    }
    let valid = 0;
    if (pathname === "/sign") {
      const bytes = decode(text);
      const [key, body] = [keys.byId.get(bytes[1])[1], bytes.subarray(0, 81)];
      for (let i = 0; i < n; i += 1) valid += (await crypto.subtle.sign("HMAC", key, body)).byteLength === 32 ? 1 : 0;
    } else if (pathname.endsWith("wasm")) {
      // Nothing is awaited: the Worker does not either.
      for (let i = 0; i < n; i += 1) valid += ways[pathname](text, now) ? 1 : 0;
    } else {
      for (let i = 0; i < n; i += 1) valid += (await ways[pathname](text, now)) ? 1 : 0;
    }
    return new Response(String(valid));
  },
};
