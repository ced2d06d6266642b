// A heading sorts its table: numbers by size, the rest by alphabet, what is not known always last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", direction);
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => compared(one.cells[column].dataset.key, other.cells[column].dataset.key, direction));
      table.tBodies[0].append(...rows);
    });
  });
}

function compared(one, other, direction) {
  if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
  const difference = Number(one) - Number(other);
  const order = Number.isNaN(difference) ? one.localeCompare(other, "en") : difference;
  return direction === "ascending" ? order : -order;
}
