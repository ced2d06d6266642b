// Light or dark: what the person's system says until the button is pressed; kept in this page alone.
const theme = (() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const listeners = [];
  let chosen = null;

  const current = () => chosen ?? (system.matches ? "dark" : "light");

  function show() {
    document.documentElement.dataset.theme = current();
    button.textContent = current() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`);
    listeners.forEach((listener) => listener());
  }

  button.addEventListener("click", () => {
    chosen = current() === "dark" ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();

  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // What every chart has in common.
  function layout(settings) {
    const axis = { gridcolor: variable("--grid"), linecolor: variable("--line"), zerolinecolor: variable("--line"), automargin: true };
    const titled = (own) => ({ ...axis, ...own, title: { ...own.title, font: { size: 13 } } });
    return {
      ...settings,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: variable("--text") },
      hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--text") }, align: "left" },
      xaxis: titled(settings.xaxis),
      yaxis: titled(settings.yaxis),
    };
  }

  return { current, layout, variable, onChange: (listener) => listeners.push(listener) };
})();

const CHART = { responsive: true, displayModeBar: false, doubleClick: false };

// Plotly reads some HTML in labels; names are text.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}
