/**
 * Simulates plays over seeded connections and prints a table: our start beside stock hls.js and beside a fixed 128 kbit/s.
 *
 *     cargo xtask bench abr
 *     node bench/simulator/main.js --bench target/release/bench [--seeds 100] [--trace NAME]
 */
import { parseArgs } from 'node:util';
import { table } from './src/report.js';
import { sides } from './src/sides.js';
import { SHAPES } from './src/traces.js';

const { values } = parseArgs({
  options: { bench: { type: 'string' }, seeds: { type: 'string', default: '100' }, trace: { type: 'string', multiple: true } },
});
if (!values.bench) throw new Error('--bench FILE names the program that answers `bench choose`');
const names = values.trace ?? Object.keys(SHAPES);
const unknown = names.filter((name) => !(name in SHAPES));
if (unknown.length > 0) throw new Error(`no such trace: ${unknown.join(', ')}; there are ${Object.keys(SHAPES).join(', ')}`);
const seeds = Array.from({ length: Number(values.seeds) }, (_, n) => n);
console.log(table(Object.fromEntries(names.map((name) => [name, sides(name, seeds, values.bench)])), seeds.length));
