/** hls.js without what a song has no use for (subtitles, alternate audio, DRM, steering): two thirds of the bytes, the same types, which its package gives for the whole only. */
declare module 'hls.js/light' {
  export * from 'hls.js';
  export { default } from 'hls.js';
}
