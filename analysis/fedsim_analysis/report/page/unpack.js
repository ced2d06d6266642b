// The plot library travels compressed: browsers since 2023 can unpack it.
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function withPlots(draw) {
  try {
    const library = document.createElement("script");
    library.textContent = await unpacked("plotly");
    document.head.append(library);
  } catch {
    for (const chart of document.querySelectorAll(".chart")) chart.textContent = "This plot needs a browser from 2023 or later.";
    return;
  }
  draw();
}

// Hands a text out as a file.
function download(name, text, type) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

for (const button of document.querySelectorAll("button[data-csv]")) {
  button.addEventListener("click", () => download(button.dataset.csv, DATA.comparison, "text/csv"));
}
