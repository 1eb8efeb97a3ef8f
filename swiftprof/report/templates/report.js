"use strict";
(() => {
  for (const block of document.querySelectorAll("pre.command")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.querySelector("code").textContent.trim());
        button.textContent = "copied";
      } catch {
        button.textContent = "select and copy";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    block.append(button);
  }
  const form = document.getElementById("filters");
  if (!form) return;
  const cards = [...document.querySelectorAll("#cards .card")];
  const count = document.getElementById("count");
  const value = (name) => (form.elements[name] ? form.elements[name].value : "");
  const apply = () => {
    const [dataset, run, method, outcome] = ["dataset", "run", "method", "outcome"].map(value);
    const words = value("words").toLowerCase().split(/\s+/).filter(Boolean);
    const disagree = form.elements.disagree.checked;
    let shown = 0;
    for (const card of cards) {
      let any = false;
      for (const row of card.querySelectorAll("tr")) {
        const mine = !method || row.dataset.method === method;
        row.classList.toggle("marked", Boolean(method) && mine);
        any = any || (mine && (!outcome || row.classList.contains(outcome)));
      }
      const text = words.length ? card.textContent.toLowerCase() : "";
      const fits = any
        && (!dataset || card.dataset.dataset === dataset)
        && (!run || card.dataset.run === run)
        && (!disagree || card.dataset.disagree === "yes")
        && words.every((word) => text.includes(word));
      card.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.textContent = `${shown} of ${cards.length}`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  const opened = [];
  window.addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details:not([open])")) {
      each.open = true;
      opened.push(each);
    }
  });
  window.addEventListener("afterprint", () => {
    for (const each of opened.splice(0)) each.open = false;
  });
  apply();
})();
