// The commands go to the clipboard; where a browser refuses that, they are selected.
document.getElementById("copy").addEventListener("click", async () => {
  const commands = document.getElementById("commands");
  const status = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(commands.textContent);
    status.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(commands);
    status.textContent = "Selected: copy it with Ctrl+C.";
  }
});
