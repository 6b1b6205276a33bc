// Does nothing: what any request costs before a Worker's own code begins.
export default {
  fetch() {
    return new Response("ok", { headers: { "content-type": "text/plain" } });
  },
};
