/** Random numbers that are the same for the same seed, everywhere: sfc32 seeded by a hash of words. */

export class Random {
  #state;

  /** @param {...(string | number)} words what the numbers are for: a trace's name, a seed */
  constructor(...words) {
    let hash = 2_166_136_261;
    for (const c of words.join('/')) hash = Math.imul(hash ^ c.codePointAt(0), 16_777_619);
    this.#state = [hash, 0x9e3779b9, 0x243f6a88, 1];
    for (let n = 0; n < 15; n++) this.next();
  }

  /** In [0, 1). */
  next() {
    let [a, b, c, d] = this.#state;
    const sum = (a + b + d) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    d = (d + 1) | 0;
    this.#state = [a | 0, b, c | 0, d];
    return (sum >>> 0) / 4_294_967_296;
  }

  between(low, high) {
    return low + (high - low) * this.next();
  }

  /** Standard normal (Box and Muller). */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }

  /** Time to the next of events that come once in `mean` on average. */
  exponential(mean) {
    return -mean * Math.log(1 - this.next());
  }
}
