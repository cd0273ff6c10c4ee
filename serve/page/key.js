// Asks for an API key, where the server wants one.

const dialog = document.getElementById("key");
const value = document.getElementById("key-value");

/** The key, or null where the reader has none. */
export function askForKey(detail) {
  document.getElementById("key-detail").textContent = detail;
  value.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? value.value.trim() : null), { once: true });
  });
}
