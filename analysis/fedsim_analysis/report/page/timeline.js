// What every worker and the server did when: a bar a span, and a mark a server step.
if (DATA.timeline.runs.length) {
  const { runs, activities, note } = DATA.timeline;
  const chart = document.getElementById("timeline-chart");
  const control = (name) => document.getElementById(`timeline-${name}`);
  const SHORTEST_S = 1e-3;
  let run = runs[0];
  let shown = [0, run.first_s];

  const seconds = (value) => Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 3 });

  function bars([name, look]) {
    const spans = run.activities[name];
    const text = spans.row.map((row, place) => {
      const from = spans.start_s[place];
      const length = spans.length_s[place];
      return `${plain(run.rows[row])}: ${look.label}<br>${seconds(from)} s to ${seconds(from + length)} s (${seconds(length)} s)`;
    });
    const colour = look[theme.current()];
    return {
      type: "bar", orientation: "h", name: look.label, text, textposition: "none", hovertemplate: "%{text}<extra></extra>",
      base: spans.start_s, x: spans.length_s, y: spans.row, width: 0.78,
      marker: {
        color: colour,
        line: { width: 0.5, color: theme.variable("--text") },
        pattern: { shape: look.pattern, fgcolor: theme.variable("--text"), bgcolor: colour, fgopacity: 0.45, size: 6, solidity: 0.15 },
      },
    };
  }

  function steps() {
    const { step, time_s } = run.steps;
    return {
      type: "scatter", mode: "markers", name: "server step", x: time_s, y: time_s.map(() => run.rows.indexOf("server")),
      text: step.map((number, place) => `server: step ${number}<br>at ${seconds(time_s[place])} s`),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: "line-ns-open", size: 18, color: theme.variable("--text"), line: { width: 1.2 } },
    };
  }

  function draw() {
    const present = activities.filter(([name]) => name in run.activities);
    const height = 120 + 24 * run.rows.length;
    const layout = theme.layout({
      height, barmode: "overlay", hovermode: "closest", dragmode: control("drag").value || false,
      margin: { l: 10, r: 14, t: 8, b: 40 },
      legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, itemclick: false, itemdoubleclick: false },
      xaxis: { title: { text: "Simulated time (s)" }, range: shown, zeroline: false },
      yaxis: {
        tickmode: "array", tickvals: run.rows.map((_, row) => row), ticktext: run.rows.map(plain),
        range: [run.rows.length - 0.4, -0.6], fixedrange: true, showgrid: false, zeroline: false,
      },
    });
    chart.style.height = `${height}px`;
    chart.setAttribute("aria-label", `Timeline of ${run.label}: ${run.rows.length} rows, ${run.n_spans} spans`);
    Plotly.react(chart, [...present.map(bars), steps()], layout, CHART);
    tell();
  }

  function tell() {
    control("from").value = Number(shown[0].toPrecision(6));
    control("to").value = Number(shown[1].toPrecision(6));
    const window = `Showing ${seconds(shown[0])} s to ${seconds(shown[1])} s of ${seconds(run.end_s)} s.`;
    control("note").textContent = [window, run.note, note].filter(Boolean).join(" ");
  }

  function look(from, to) {
    const length = Math.min(Math.max(to - from, SHORTEST_S), Math.max(run.end_s, SHORTEST_S));
    const start = Math.min(Math.max(from, 0), Math.max(run.end_s - length, 0));
    Plotly.relayout(chart, { "xaxis.range": [start, start + length] });
  }

  function scaled(factor) {
    const middle = (shown[0] + shown[1]) / 2;
    const half = (factor * (shown[1] - shown[0])) / 2;
    look(middle - half, middle + half);
  }

  function moved(share) {
    const way = share * (shown[1] - shown[0]);
    look(shown[0] + way, shown[1] + way);
  }

  function choose() {
    run = runs[Number(control("run").value)];
    shown = [0, run.first_s];
    draw();
  }

  // A finger that scrolls the page must not get caught in the chart.
  if (matchMedia("(pointer: coarse)").matches) control("drag").value = "";
  fill(control("run"), runs.map((each, place) => [String(place), each.label]), "0");
  draw();
  chart.on("plotly_relayout", () => {
    shown = chart.layout.xaxis.range.map(Number);
    tell();
  });
  chart.on("plotly_doubleclick", () => look(0, run.first_s));
  control("run").addEventListener("change", choose);
  control("drag").addEventListener("change", () => Plotly.relayout(chart, { dragmode: control("drag").value || false }));
  control("in").addEventListener("click", () => scaled(0.5));
  control("out").addEventListener("click", () => scaled(2));
  control("earlier").addEventListener("click", () => moved(-0.5));
  control("later").addEventListener("click", () => moved(0.5));
  control("whole").addEventListener("click", () => look(0, run.end_s));
  control("reset").addEventListener("click", () => look(0, run.first_s));
  for (const end of ["from", "to"]) {
    control(end).addEventListener("change", () => {
      const [from, to] = [Number(control("from").value), Number(control("to").value)];
      if (from < to) look(from, to);
      else tell();
    });
  }
  theme.onChange(draw);
}
