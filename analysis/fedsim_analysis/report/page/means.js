// Means over seeds with their intervals, as analysis/fedsim_analysis/statistics.py computes them.

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The mean of independent values and half the width of its 95 % interval; none for a single value.
function estimate(values) {
  const middle = mean(values);
  const count = values.length;
  if (count < 2) return { mean: middle, half: null, count };
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (count - 1);
  return { mean: middle, half: DATA.explorer.student[count - 2] * Math.sqrt(variance / count), count };
}

// One value a seed: whatever else differs between the runs of a seed is averaged first.
function bySeed(runs, values) {
  const seeds = new Map();
  for (const run of runs) {
    const seed = DATA.explorer.seeds[run];
    seeds.set(seed, [...(seeds.get(seed) ?? []), values[run]]);
  }
  return [...seeds.values()].map(mean);
}

function grouped(runs, key) {
  const groups = new Map();
  for (const run of runs) {
    const group = key(run);
    if (groups.has(group)) groups.get(group).push(run);
    else groups.set(group, [run]);
  }
  return groups;
}
