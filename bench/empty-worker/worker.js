// A Worker that does nothing: what any answer costs before our code begins.
const BODY = 'ok';

export default {
  fetch() {
    return new Response(BODY, { headers: { 'content-type': 'text/plain' } });
  },
};
