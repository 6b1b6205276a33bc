// Stands before the built Worker as the platform would, and fails where a test says so: `waitUntil` throws for a request that carries
// `x-fault`. The worker crate takes that for impossible and panics, so this is a panic of the Worker as it is deployed, in the midst of an answer.

import { WorkerEntrypoint } from "cloudflare:workers";
import Edge, { HeartbeatBuffer } from "./index.js";

export { HeartbeatBuffer };

export default class extends WorkerEntrypoint {
  fetch(request) {
    const waitUntil = (work) => {
      if (request.headers.has("x-fault")) throw new Error("the platform failed");
      this.ctx.waitUntil(work);
    };
    return Edge.prototype.fetch.call({ env: this.env, ctx: { waitUntil } }, request);
  }
}
