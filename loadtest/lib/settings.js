// What a run can be told with -e, with defaults for a system on this machine.
//
//   BASE_URL   the edge's address            http://127.0.0.1:8787
//   EMAIL, PASSWORD  a listener's account; without them one is made for the run
//   RATE       new plays a second            2
//   DURATION   how long plays begin          1m
//   MAX_VUS    players at once, at most      50
//   SEGMENTS   segments fetched a play       3
//   PACE       1 waits as a player does; 0 fetches as fast as it goes

/** @param {string} name @param {string} fallback */
const text = (name, fallback) => __ENV[name] || fallback;

/** @param {string} name @param {number} fallback */
function number(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number, not ${__ENV[name]}`);
  return value;
}

export const settings = {
  baseUrl: text('BASE_URL', 'http://127.0.0.1:8787').replace(/\/$/, ''),
  email: text('EMAIL', ''),
  password: text('PASSWORD', ''),
  rate: number('RATE', 2),
  duration: text('DURATION', '1m'),
  maxVus: number('MAX_VUS', 50),
  segments: number('SEGMENTS', 3),
  pace: number('PACE', 1),
};
