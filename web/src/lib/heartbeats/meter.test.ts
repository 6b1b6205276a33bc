import { describe, expect, it } from 'vitest';
import { Meter } from './meter';

const heard = { muted: false, background: false };
const spans = (events: { from_ms: number; to_ms: number }[]) => events.map((e) => [e.from_ms, e.to_ms]);

describe('the meter', () => {
  it('cuts what is longer than one event may be', () => {
    const events = new Meter(0, 2_000_000).take('progress', 1_300_000, heard);
    expect(spans(events)).toEqual([[0, 600_000], [600_000, 1_200_000], [1_200_000, 1_300_000]]);
    expect(events.map((e) => e.seq)).toEqual([0, 1, 2]);
  });

  it('reports a song played through as touching intervals', () => {
    const meter = new Meter(0, 40_000);
    const events = [
      ...meter.take('start', 0, heard),
      ...meter.take('progress', 15_000, heard),
      ...meter.take('progress', 30_000, heard),
      ...meter.take('end', 40_000, heard),
    ];
    expect(spans(events)).toEqual([[0, 0], [0, 15_000], [15_000, 30_000], [30_000, 40_000]]);
    expect(events.map((e) => e.seq)).toEqual([0, 1, 2, 3]);
  });

  it('counts nothing between pause and resume', () => {
    const meter = new Meter(0, 60_000);
    const events = [...meter.take('pause', 9_000, heard), ...meter.take('resume', 9_000, heard), ...meter.take('progress', 12_000, heard)];
    expect(spans(events)).toEqual([[0, 9_000], [9_000, 9_000], [9_000, 12_000]]);
  });

  it('never reports what a seek jumped over', () => {
    const meter = new Meter(0, 200_000);
    const events = [...meter.take('start', 0, heard), ...meter.seek(10_000, 120_000, heard), ...meter.take('progress', 125_000, heard)];
    expect(spans(events)).toEqual([[0, 0], [0, 10_000], [120_000, 125_000]]);
  });

  it('reports media heard twice when a listener seeks back', () => {
    const meter = new Meter(0, 200_000);
    const events = [...meter.seek(30_000, 5_000, heard), ...meter.take('stop', 12_000, heard)];
    expect(spans(events)).toEqual([[0, 30_000], [5_000, 12_000]]);
  });

  it('begins where a resumed play begins', () => {
    const meter = new Meter(61_234.4, 90_000);
    expect(spans([...meter.take('start', 61_234.4, heard), ...meter.take('stop', 62_000, heard)])).toEqual([[61_234, 61_234], [61_234, 62_000]]);
  });

  it('stays within the song, with whole milliseconds, and never runs backwards', () => {
    const meter = new Meter(0, 10_000.4);
    const events = [
      ...meter.take('progress', 4_999.6, heard),
      ...meter.take('progress', 4_000, heard),
      ...meter.take('progress', Number.NaN, heard),
      ...meter.take('end', 10_260, heard),
    ];
    expect(spans(events)).toEqual([[0, 5_000], [5_000, 5_000], [5_000, 5_000], [5_000, 10_000]]);
  });

  it('says whether it was heard aloud', () => {
    expect(new Meter(0, 1).take('start', 0, { muted: true, background: true })).toMatchObject([{ muted: true, background: true }]);
  });
});
