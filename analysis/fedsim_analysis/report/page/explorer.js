// The plot in which a person picks what is across, the metric and the grouping.
{
  const { dimensions, measures, places, seeds, ids } = DATA.explorer;
  const chart = document.getElementById("explore-chart");
  const control = (name) => document.getElementById(`explore-${name}`);
  const filters = new Map();
  const ALL = "all";

  const dimension = (name) => dimensions.find((each) => each.name === name);
  const column = (name) => dimension(name) ?? measures.find((each) => each.name === name);
  const options = (columns) => columns.map((each) => [each.name, each.label]);

  // What neither the axis nor the grouping decides on: to be averaged, or held at one value.
  function free() {
    const [across, group] = [dimension(control("x").value), dimension(control("group").value)];
    const cells = [...grouped(ids.keys(), (run) => JSON.stringify([across?.values[run], group?.values[run]])).values()];
    return dimensions.filter((each) => each.tells && cells.some((cell) => differs(each, cell)));
  }

  const differs = (each, runs) => runs.some((run) => each.values[run] !== each.values[runs[0]]);

  function offerFilters() {
    const rows = free().map((each) => {
      const label = document.createElement("label");
      label.append(`${each.label} `);
      const select = document.createElement("select");
      fill(select, [[ALL, "all"], ...each.levels.map((level, place) => [String(place), level.text])], filters.get(each.name) ?? ALL);
      select.addEventListener("change", () => {
        filters.set(each.name, select.value);
        draw();
      });
      label.append(select);
      return label;
    });
    control("filters").replaceChildren(...rows);
  }

  function kept() {
    const held = free().filter((each) => (filters.get(each.name) ?? ALL) !== ALL);
    return [...ids.keys()].filter((run) =>
      held.every((each) => each.values[run] === each.levels[Number(filters.get(each.name))].value));
  }

  function points(runs, across, metric) {
    if (control("draw").value === "runs") {
      return runs.map((run) => ({ x: across.values[run], y: metric.values[run], runs: [run] }));
    }
    // At the value of a setting all runs there are one point; of a measurement, the seeds of one place are.
    const isSetting = dimensions.includes(across);
    const found = [...grouped(runs, (run) => (isSetting ? across.values[run] : places[run])).values()].map((group) => {
      const y = estimate(bySeed(group, metric.values));
      const x = isSetting ? { mean: across.values[group[0]], half: null } : estimate(bySeed(group, across.values));
      return { x: x.mean, y: y.mean, xHalf: x.half, yHalf: y.half, seeds: y.count, runs: group };
    });
    const order = isSetting ? across.levels.map((level) => level.value) : null;
    return found.sort((one, other) => (order ? order.indexOf(one.x) - order.indexOf(other.x) : one.x - other.x));
  }

  const textOf = (each, value) => plain(each.levels?.find((level) => level.value === value)?.text ?? value);
  const short = (value) => (typeof value === "number" ? Number(value.toPrecision(5)).toLocaleString("en", { maximumFractionDigits: 8 }) : plain(value));

  function told(point, name, across, metric) {
    const sure = (half) => (half === null || half === undefined ? "" : ` ± ${short(half)}`);
    const runs = point.runs.length;
    const who = runs === 1 ? `seed ${seeds[point.runs[0]]}, run ${ids[point.runs[0]]}` : `${runs} runs, ${point.seeds} seeds`;
    const lines = [`${plain(across.label)}: ${across.levels ? textOf(across, point.x) : short(point.x)}${sure(point.xHalf)}`, `${plain(metric.label)}: ${short(point.y)}${sure(point.yHalf)}`, who];
    return [...(name ? [`<b>${plain(name)}</b>`] : []), ...lines].join("<br>");
  }

  function trace(runs, level, across, metric, asNames) {
    const found = points(runs, across, metric);
    const colour = level ? level[theme.current()] : theme.variable("--accent");
    const name = level ? level.text : "all runs";
    const bars = (half) => ({ type: "data", array: found.map((point) => point[half] ?? 0), visible: found.some((point) => point[half]), thickness: 1.2, width: 4, color: colour });
    return {
      type: "scatter", mode: control("draw").value === "lines" ? "lines+markers" : "markers", name: plain(name),
      x: found.map((point) => (asNames ? textOf(across, point.x) : point.x)), y: found.map((point) => point.y),
      error_x: bars("xHalf"), error_y: bars("yHalf"),
      customdata: found.map((point) => ({ group: name, x: asNames ? String(across.levels.find((each) => each.value === point.x)?.text ?? point.x) : point.x, xHalf: point.xHalf, yHalf: point.yHalf, runs: point.runs.length })),
      text: found.map((point) => told(point, level && name, across, metric)), hovertemplate: "%{text}<extra></extra>",
      marker: { color: colour, size: 9, symbol: level ? level.symbol : "circle", line: { width: 1, color: theme.variable("--card") } },
      line: { color: colour, width: 2, dash: level ? level.dash : "solid" },
    };
  }

  function draw() {
    const [across, metric, group] = [column(control("x").value), column(control("metric").value), dimension(control("group").value)];
    const asNames = "numeric" in across && !across.numeric;
    const runs = kept();
    const whole = runs.filter((run) => metric.values[run] !== null && (asNames || across.values[run] !== null));
    const split = grouped(whole, (run) => (group ? group.values[run] : ""));
    const levels = group ? group.levels.filter((level) => split.has(level.value)) : [null];
    const traces = levels.map((level) => trace(split.get(level ? level.value : "") ?? [], level, across, metric, asNames));
    const positive = (each) => whole.every((run) => each.values[run] > 0);
    const axis = (each, name, allowed) => ({
      title: { text: plain(each.label) },
      type: control(`logarithmic-${name}`).checked && allowed ? "log" : "linear",
    });
    const names = { title: { text: plain(across.label) }, type: "category", categoryorder: "array", categoryarray: asNames ? across.levels.map((level) => plain(level.text)) : [] };
    control("logarithmic-x").disabled = asNames || !positive(across);
    control("logarithmic-y").disabled = !positive(metric);
    const layout = theme.layout({
      margin: { l: 10, r: 14, t: 10, b: 10 }, hovermode: "closest", dragmode: false, showlegend: Boolean(group),
      scattermode: asNames ? "group" : "overlay", scattergap: 0.6,
      legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, itemclick: false, itemdoubleclick: false },
      xaxis: asNames ? names : axis(across, "x", positive(across)),
      yaxis: axis(metric, "y", positive(metric)),
    });
    const said = `${metric.label} across ${across.label}${group ? ` by ${group.label}` : ""}`;
    chart.setAttribute("aria-label", `Plot: ${said}`);
    Plotly.react(chart, traces, layout, CHART);
    keep();
    control("note").textContent = notes(said, runs, whole, across, metric, group).join(" ");
  }

  // A run that never reached its target would have taken longer than those that did.
  function leftOut(count, metric) {
    const who = metric.name === "time_to_target_s" ? "never reached the target: without them these means are too short" : "have no such number";
    return `Left out: ${count} runs that ${who}.`;
  }

  function notes(said, runs, whole, across, metric, group) {
    const told = [`${said}: ${whole.length} runs.`];
    if (whole.length < runs.length) told.push(leftOut(runs.length - whole.length, metric));
    if (control("draw").value === "runs" || !dimensions.includes(across)) return told;
    const cells = [...grouped(whole, (run) => JSON.stringify([across.values[run], group?.values[run]])).values()];
    const mixed = free().filter((each) => cells.some((cell) => differs(each, cell)));
    if (mixed.length) told.push(`Averaged over ${mixed.map((each) => each.label).join(", ")} within each seed; pick a value above to look at one.`);
    return told;
  }

  // What is chosen stands in the address, so that a link shows it again.
  const CHOICES = ["x", "metric", "group", "draw"];
  const CHECKS = ["logarithmic-x", "logarithmic-y"];

  function keep() {
    const chosen = new URLSearchParams(CHOICES.map((name) => [name, control(name).value]));
    for (const name of CHECKS) if (control(name).checked) chosen.set(name, "1");
    for (const [name, place] of filters) if (place !== ALL) chosen.set(`only.${name}`, dimension(name).levels[Number(place)].text);
    control("address").textContent = `${location.href.split("#")[0]}#explore?${chosen}`;
  }

  function recall() {
    const start = "#explore?";
    if (!location.hash.startsWith(start)) return false;
    const chosen = new URLSearchParams(location.hash.slice(start.length));
    for (const name of CHOICES) {
      const there = [...control(name).options].some((option) => option.value === chosen.get(name));
      if (there) control(name).value = chosen.get(name);
    }
    for (const name of CHECKS) control(name).checked = chosen.has(name);
    filters.clear();
    for (const each of dimensions) {
      const place = each.levels.findIndex((level) => level.text === chosen.get(`only.${each.name}`));
      if (place >= 0) filters.set(each.name, String(place));
    }
    document.getElementById("explore").scrollIntoView();
    return true;
  }

  // One row per point: what the plot shows, as numbers.
  function rows() {
    const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const [across, metric, group] = [control("x").value, control("metric").value, control("group").value];
    const table = [[group || "group", across, metric, `${across}_half_width_95`, `${metric}_half_width_95`, "runs"]];
    for (const each of chart.data) {
      each.customdata.forEach((point, place) => table.push([point.group, point.x, each.y[place], point.xHalf, point.yHalf, point.runs]));
    }
    return table.map((row) => row.map((cell) => quoted(String(cell ?? ""))).join(",")).join("\n") + "\n";
  }

  function start() {
    const settings = dimensions.filter((each) => each.name.includes("."));
    const first = settings.find((each) => each.numeric) ?? settings[0] ?? dimension("method");
    const group = first.name === "method" ? "" : "method";
    fill(control("x"), options([...dimensions, ...measures]), first.name);
    fill(control("metric"), options(measures), DATA.explorer.first_measure);
    fill(control("group"), [["", "nothing"], ...options(dimensions)], group);
    for (const name of ["x", "metric", "group", "draw", "logarithmic-x", "logarithmic-y"]) {
      control(name).addEventListener("change", () => {
        if (name === "x" || name === "group") offerFilters();
        draw();
      });
    }
    const again = () => {
      if (!recall()) return;
      offerFilters();
      draw();
    };
    control("svg").addEventListener("click", () => Plotly.downloadImage(chart, { format: "svg", filename: control("metric").value, width: 900, height: 500 }));
    control("csv").addEventListener("click", () => download(`${control("metric").value}.csv`, rows(), "text/csv"));
    control("link").addEventListener("click", () => {
      control("address").hidden = false;
      copy(control("address"), control("copied"));
    });
    addEventListener("hashchange", again);
    recall();
    offerFilters();
    draw();
    theme.onChange(draw);
  }

  start();
}
