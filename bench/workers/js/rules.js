// Bitrate choice, rights and playlists: what crate `protocol` decides, written as a JavaScript author would.

export const RUNGS = [
  { name: "aac-64", bit: 1, bps: 64_000, said: "AAC 64 kbit/s" },
  { name: "aac-128", bit: 2, bps: 128_000, said: "AAC 128 kbit/s" },
  { name: "aac-256", bit: 4, bps: 256_000, said: "AAC 256 kbit/s" },
  { name: "flac", bit: 8, bps: 1_000_000, said: "FLAC" },
];
const FLAC = 8;
const PLAN_RUNGS = { free: 3, premium: 15 };
export const rung = (name) => RUNGS.find((one) => one.name === name);

/** Whether the track may be heard: the code of a refusal, or `undefined`. */
export function refusal(card, territory, now) {
  if (card.state === "taken_down") return [410, "taken_down", "this track has been taken down"];
  if (card.state !== "published") return [403, "not_available", "this track is held and cannot be played now"];
  if (card.release_at_ms && now < card.release_at_ms) return [403, "not_released", "this track has not been released yet"];
  if (card.territories && !card.territories.includes(territory)) return [403, "not_allowed_here", `this track is not available in ${territory}`];
  return undefined;
}

/** What a request tells of its sender's connection. */
export function gather(headers, query, cf) {
  let cmcd = {};
  for (const name of ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"]) {
    const text = headers.get(name);
    if (text !== null) cmcd = { ...cmcd, ...readCmcd(text) };
  }
  const argument = /(?:^|&)CMCD=([^&]*)/.exec(query)?.[1];
  if (argument !== undefined) cmcd = { ...cmcd, ...readCmcd(decodeURIComponent(argument)) };
  const number = (text, scale = 1) => (text === null || !(Number(text) >= 0) ? undefined : Math.floor(Number(text) * scale));
  return {
    cmcd,
    downlinkKbps: number(headers.get("downlink"), 1000),
    effectiveType: headers.get("ect") ?? undefined,
    saveData: headers.get("save-data")?.trim().toLowerCase() === "on",
    roundTripMs: number(headers.get("rtt")) ?? (cf?.clientTcpRtt || cf?.clientQuicRtt || undefined),
    deliveryKbps: cf?.edgeL4?.deliveryRate ? Math.floor(cf.edgeL4.deliveryRate / 125) : undefined,
  };
}

function readCmcd(text) {
  const read = {};
  for (const member of text.split(",")) {
    const [key, value] = member.trim().split("=");
    if (["mtp", "bl", "rtp", "br"].includes(key) && /^\d+$/.test(value)) read[key] = Number(value);
    else if (key === "bs") read.bs = value !== "?0";
  }
  return read;
}

function estimate({ cmcd, downlinkKbps, effectiveType, roundTripMs, deliveryKbps }) {
  const atMost = (kbps, said, guess = "aac-128") => ({ limit: kbps, guess, said });
  const believed = () => {
    if (cmcd.mtp !== undefined) return atMost(Math.max(cmcd.mtp, 50), `the player measured ${cmcd.mtp} kbit/s (CMCD mtp)`, "aac-256");
    if (downlinkKbps > 0) return atMost(downlinkKbps, `the browser estimates ${downlinkKbps} kbit/s`, "aac-256");
    const byClass = { "slow-2g": 50, "2g": 70, "3g": 700 }[effectiveType];
    if (byClass !== undefined) return atMost(byClass, `the browser calls the connection ${effectiveType}`);
    if (effectiveType === "4g") return atMost(undefined, "the browser calls the connection 4g", "aac-256");
    if (deliveryKbps >= 700) return atMost(undefined, `the edge delivered ${deliveryKbps} kbit/s to this listener just before`, "aac-256");
    if (roundTripMs > 400) return atMost(700, `a round trip takes ${roundTripMs} ms`);
    return atMost(undefined, "nothing is known of the connection");
  };
  const found = believed();
  if (cmcd.rtp > 0 && !(cmcd.rtp >= found.limit)) return { ...found, limit: cmcd.rtp, said: `the player asked for no more than ${cmcd.rtp} kbit/s (CMCD rtp)` };
  return found;
}

/** Where to begin and what to offer, with the reason. */
export function choose(evidence, available, plan) {
  const payable = available & PLAN_RUNGS[plan];
  const lossy = RUNGS.filter(({ bit }) => bit !== FLAC && payable & bit);
  if (lossy.length === 0) return undefined;
  const [smallest] = lossy;
  const { limit, guess, said } = estimate(evidence);
  const carries = (one, percent) => limit === undefined || one.bps * percent <= limit * 1000 * 100;
  const most = evidence.saveData ? 64_000 : 256_000;
  const allowed = lossy.filter((one) => one === smallest || (one.bps <= most && carries(one, 110)));
  const { bs: starved = false, bl, br } = evidence.cmcd;
  const ample = bl >= 12_000;
  const headroom = starved ? 300 : ample ? 110 : 200;
  const playing = starved || br === undefined ? undefined : lossy.findLast((one) => one.bps / 1000 <= br);
  const ceiling = ample && !starved ? rung(guess).bps : 128_000;
  const start = allowed.findLast((one) => (one.bps <= ceiling && carries(one, headroom)) || (playing && one.bps <= playing.bps)) ?? smallest;
  return {
    start: start.name,
    allowed: allowed.map(({ name }) => name),
    rungs: allowed.reduce((set, { bit }) => set | bit, 0),
    lossless: Boolean(payable & FLAC) && !evidence.saveData && carries(RUNGS[3], 200),
    reason: `Starts at ${start.said}${onward(start, allowed.at(-1), rung(guess))} because ${because()}.`,
  };

  function because() {
    if (evidence.saveData) return "data saver is on";
    if (starved) return `the buffer just ran dry, and ${said}`;
    if (allowed.at(-1).bps < 256_000 && plan === "free" && carries(RUNGS[2], 110)) return `the plan ends there, and ${said}`;
    return said;
  }
}

function onward(start, largest, guess) {
  if (start === largest) return " and goes no higher";
  return start.bps < guess.bps ? `, to sound at once, and may rise to ${largest.said}` : ` and may rise to ${largest.said}`;
}

export function multivariant(sheet, allowed, start, near, gateway) {
  let text = `#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-CONTENT-STEERING:SERVER-URI="${near}steering.json",PATHWAY-ID="edge"\n`;
  const order = [start, ...allowed.filter((name) => name !== start)];
  for (const [pathway, base] of [["edge", near], ["gateway", gateway]]) {
    for (const name of order) {
      const one = sheet.rungs.find((candidate) => candidate.rung === name);
      if (one !== undefined) text += `#EXT-X-STREAM-INF:BANDWIDTH=${one.peak_bps},AVERAGE-BANDWIDTH=${one.average_bps},CODECS="${one.codec}",PATHWAY-ID="${pathway}"\n${base}${name}.m3u8\n`;
    }
  }
  return text;
}

export function mediaPlaylist(sheet, name) {
  const micros = (samples) => Math.floor((samples * 1_000_000) / sheet.timescale);
  const last = sheet.priming + sheet.samples;
  let [entries, heard, target] = ["", 0, 6];
  for (let n = 0; n + 1 < sheet.boundaries.length; n += 1) {
    const until = heard + Math.max(Math.min(sheet.boundaries[n + 1], last) - Math.max(sheet.boundaries[n], sheet.priming), 0);
    const durationUs = micros(until) - micros(heard);
    heard = until;
    target = Math.max(target, Math.floor((durationUs + 500_000) / 1_000_000));
    entries += `#EXTINF:${Math.floor(durationUs / 1_000_000)}.${String(durationUs % 1_000_000).padStart(6, "0")},\n${name}/${n}.m4s\n`;
  }
  return `#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:${target}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI="${name}/init.mp4"\n${entries}#EXT-X-ENDLIST\n`;
}

/** When segment `n` is heard, in ms. */
export function heardMs(sheet, n) {
  const at = (boundary) => Math.floor((Math.max(Math.min(sheet.boundaries[boundary], sheet.priming + sheet.samples) - sheet.priming, 0) * 1000) / sheet.timescale);
  return [at(n), at(n + 1)];
}

export const durationMs = (sheet) => Math.floor((sheet.samples * 1000) / sheet.timescale);

export function loudness({ integrated_clufs, true_peak_cdbtp }) {
  const wanted = -1400 - integrated_clufs;
  const gain = wanted <= 0 ? wanted : Math.max(Math.min(wanted, -100 - true_peak_cdbtp), 0);
  return { integrated_lufs: integrated_clufs / 100, true_peak_dbtp: true_peak_cdbtp / 100, gain_db: gain / 100 };
}
