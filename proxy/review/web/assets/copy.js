// Copying: what stands beside a button, or what an address answers with.

async function put(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // no secure context
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function copying(root) {
  for (const box of root.querySelectorAll(".copyable")) {
    const code = box.querySelector("[data-copy-text]");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await put(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
  }
  for (const button of root.querySelectorAll("[data-copy-from]")) {
    const say = button.closest(".actions").querySelector("[data-copied]");
    button.addEventListener("click", async () => {
      try {
        const answer = await fetch(button.dataset.copyFrom);
        if (!answer.ok) throw new Error(`${answer.status}`);
        await put(await answer.text());
        say.textContent = "The scenario is in the clipboard.";
      } catch {
        say.textContent = "No scenario can be made of these records.";
      }
    });
  }
}
