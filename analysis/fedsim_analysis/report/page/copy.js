// A text goes to the clipboard; where a browser refuses that, it is selected.
async function copy(element, status) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    status.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(element);
    status.textContent = "Selected: copy it with Ctrl+C.";
  }
}
document.getElementById("copy").addEventListener("click", () => {
  copy(document.getElementById("commands"), document.getElementById("copied"));
});
