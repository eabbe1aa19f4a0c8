// What the models answered lately: the differences between looks at numbers that only grow.

const WINDOW_SECONDS = 60;
const KEPT_LOOKS = 90;

/** The looks of the last minutes, oldest first. */
export class Activity {
  #looks = [];

  add(models, seconds) {
    this.#looks.push({ models, seconds });
    if (this.#looks.length > KEPT_LOOKS) this.#looks.shift();
  }

  /** What a version did in the last minute, and since the server started. */
  summary(model, version) {
    const last = this.#looks.at(-1);
    if (!last) return null;
    const from = this.#looks.find((look) => look.seconds >= last.seconds - WINDOW_SECONDS) ?? last;
    const now = facts(last.models[model], version);
    return { lately: since(now, facts(from.models[model], version)), total: now, seconds: last.seconds - from.seconds };
  }

  /** Requests a second between each two looks. */
  rates(model, version) {
    return this.#looks.slice(1).map((look, place) => {
      const before = this.#looks[place];
      const difference = since(facts(look.models[model], version), facts(before.models[model], version));
      return difference.requests / (look.seconds - before.seconds || 1);
    });
  }
}

const EMPTY = { count: 0, sum: 0, buckets: [] };

function facts(model, version) {
  const statuses = Object.entries(model?.requests?.[version] ?? {});
  const total = (entries) => entries.reduce((sum, [, count]) => sum + count, 0);
  return {
    requests: total(statuses),
    errors: total(statuses.filter(([status]) => status >= "400")),
    run: model?.run_seconds?.[version] ?? EMPTY,
    batches: model?.batch_rows?.count ? model.batch_rows : (model?.rows ?? EMPTY),
  };
}

function since(now, before) {
  const grown = Math.max(0, now.requests - before.requests);
  return {
    requests: grown,
    errors: Math.max(0, now.errors - before.errors),
    run: histogramSince(now.run, before.run),
    batches: histogramSince(now.batches, before.batches),
  };
}

function histogramSince(now, before) {
  if (now.count < before.count) return now; // the server was started anew
  const known = new Map(before.buckets);
  return {
    count: now.count - before.count,
    sum: now.sum - before.sum,
    buckets: now.buckets.map(([bound, count]) => [bound, count - (known.get(bound) ?? 0)]),
  };
}

/** The value below which a share of what a histogram counted lies, as far as its buckets tell; NaN for none. */
export function quantile(histogram, share) {
  const wanted = share * histogram.count;
  if (!histogram.count) return NaN;
  let [lower, below] = [0, 0];
  for (const [bound, count] of histogram.buckets) {
    if (count >= wanted) return lower + ((bound - lower) * (wanted - below)) / (count - below || 1);
    [lower, below] = [bound, count];
  }
  return lower;
}

/** The mean of what a histogram counted; NaN for none. */
export function mean(histogram) {
  return histogram.count ? histogram.sum / histogram.count : NaN;
}
