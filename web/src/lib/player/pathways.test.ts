import { expect, it } from 'vitest';
import { onePathway } from './pathways';

const steered = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-CONTENT-STEERING:SERVER-URI="steering.json",PATHWAY-ID="edge"
#EXT-X-STREAM-INF:BANDWIDTH=130507,CODECS="mp4a.40.2",PATHWAY-ID="edge"
aac-128.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=65931,CODECS="mp4a.40.2",PATHWAY-ID="edge"
aac-64.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=130507,CODECS="mp4a.40.2",PATHWAY-ID="gateway"
http://gateway.test/v1/media/tok/aac-128.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=65931,CODECS="mp4a.40.2",PATHWAY-ID="gateway"
http://gateway.test/v1/media/tok/aac-64.m3u8
`;

const uris = (text: string) => text.split('\n').filter((line) => line && !line.startsWith('#'));

it('each quality is there once, on the pathway that the playlist begins with, and nobody steers', () => {
  expect(uris(onePathway(steered))).toEqual(['aac-128.m3u8', 'aac-64.m3u8']);
  expect(onePathway(steered)).not.toContain('STEERING');
  expect(uris(onePathway(steered.replace('json",PATHWAY-ID="edge"', 'json",PATHWAY-ID="gateway"')))).toHaveLength(2);
  expect(uris(onePathway(steered.replace('json",PATHWAY-ID="edge"', 'json",PATHWAY-ID="gateway"')))[0]).toContain('gateway.test');
});

it('a playlist without pathways stays as it is', () => {
  const plain = steered.replace(/#EXT-X-CONTENT.*\n/, '').replaceAll(/,PATHWAY-ID="\w+"/g, '');
  expect(onePathway(plain)).toBe(plain);
});
