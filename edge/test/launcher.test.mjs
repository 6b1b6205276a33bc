// The launcher under a supervisor: it never leaves a runtime behind, and what was acknowledged outlives any kill.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import * as origin from "./gateway.mjs";
import { alive, freePort, place, serve, until } from "./launcher.mjs";

let gateway, home, port;

before(async () => {
  gateway = await origin.start();
  home = place(gateway.url);
  port = await freePort();
});
after(async () => {
  await gateway?.stop();
  home?.remove();
});

test("SIGTERM ends launcher and runtime", async () => {
  const edge = await serve(home, port);
  assert.equal(await edge.stop(), 0);
  await until(() => !alive(edge.workerd_pid), "the runtime's end");
});

test("when the runtime is killed the launcher says so with its exit code", async () => {
  const edge = await serve(home, port);
  process.kill(edge.workerd_pid, "SIGKILL");
  assert.deepEqual(await edge.exited, [70, null]);
});

test("when the launcher is killed the runtime goes too, and the port is free again", async () => {
  const edge = await serve(home, port);
  edge.child.kill("SIGKILL");
  await edge.exited;
  await until(() => !alive(edge.workerd_pid), "the runtime's end");
  await (await serve(home, port)).stop();
});

test("what was acknowledged before a kill reaches the origin after it, under the same epoch and numbers without gaps", async () => {
  gateway.refuse = 503;
  let edge = await serve(home, port);
  const manifest = await fetch(`${edge.url}/v1/tracks/${origin.TRACK}/manifest`, { headers: { authorization: origin.session(), accept: "application/json" } });
  const { play: { ticket } } = await manifest.json();
  let acknowledged = 0;
  const post = async (seq) => {
    const body = JSON.stringify({ ticket, sender: "s", events: [{ seq, kind: "progress", from_ms: 0, to_ms: 100 }] });
    const answer = await fetch(`${edge.url}/v1/me/play-event`, { method: "POST", body }).catch(() => null);
    if (answer?.status === 202) acknowledged += 1;
  };
  const RESTARTS = 3;
  for (let round = 0; round < RESTARTS; round += 1) {
    const posts = Array.from({ length: 200 }, (_, n) => post(round * 1_000 + n));
    await Promise.all(posts.slice(0, 50));
    process.kill(edge.workerd_pid, "SIGKILL");
    await Promise.all(posts);
    await edge.exited;
    edge = await serve(home, port);
  }
  gateway.refuse = undefined;
  // Nothing wakes the buffer but the alarm in its storage.
  const names = () => new Set(gateway.batches.flatMap(({ posts }) => posts).flatMap(({ events }) => events).map(({ seq }) => seq));
  await until(() => names().size >= acknowledged, `${acknowledged} acknowledged events`, 60_000);
  const numbers = gateway.batches.map(({ number }) => number);
  assert.deepEqual(numbers, numbers.map((_, n) => n + 1));
  assert.equal(new Set(gateway.batches.map(({ epoch }) => epoch)).size, 1);
  assert.ok(acknowledged >= 50);
  await edge.stop();
});
