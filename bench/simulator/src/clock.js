/** A clock that stands still until it is told to run: events at virtual instants, in order of time and then of booking. */

export class Clock {
  now_ms = 0;
  #events = [];
  #booked = 0;
  #cancelled = new Set();

  /** Books `call` for `at_ms`; returns what cancels it. */
  at(at_ms, call) {
    const event = { at_ms: Math.max(at_ms, this.now_ms), order: ++this.#booked, call };
    // Few events wait at any time: a sorted array is the simplest queue.
    let place = this.#events.length;
    while (place > 0 && this.#events[place - 1].at_ms > event.at_ms) place -= 1;
    this.#events.splice(place, 0, event);
    return event.order;
  }

  after(delay_ms, call) {
    return this.at(this.now_ms + delay_ms, call);
  }

  every(period_ms, call) {
    const id = ++this.#booked;
    const round = () => {
      if (this.#cancelled.has(id)) return;
      call();
      if (!this.#cancelled.has(id)) this.after(period_ms, round);
    };
    this.after(period_ms, round);
    return id;
  }

  cancel(id) {
    const place = this.#events.findIndex((event) => event.order === id);
    if (place >= 0) this.#events.splice(place, 1);
    else this.#cancelled.add(id);
  }

  /** Runs until `done` says so, nothing waits any more, or `until_ms` has passed. */
  run(until_ms, done) {
    while (!done() && this.#events.length > 0 && this.#events[0].at_ms <= until_ms) {
      const event = this.#events.shift();
      this.now_ms = event.at_ms;
      event.call();
    }
  }
}
