// The module 'k6/metrics'.
const native = globalThis.__loadtest_runner;

class Metric {
  constructor(kind, name, isTime) {
    native.metric(kind, String(name), Boolean(isTime));
    this.name = String(name);
  }
  add(value, tags) {
    native.add(this.name, Number(value), JSON.stringify(tags ?? {}));
  }
}

export class Counter extends Metric {
  constructor(name, isTime) {
    super('counter', name, isTime);
  }
}

export class Gauge extends Metric {
  constructor(name, isTime) {
    super('gauge', name, isTime);
  }
}

export class Rate extends Metric {
  constructor(name, isTime) {
    super('rate', name, isTime);
  }
}

export class Trend extends Metric {
  constructor(name, isTime) {
    super('trend', name, isTime);
  }
}

export default { Counter, Gauge, Rate, Trend };
