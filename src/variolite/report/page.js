"use strict";
// Saves a drawing as a file of its own, and swaps the figures that a menu chooses among.
document.querySelectorAll("figure").forEach((figure) => {
  const drawing = figure.querySelector("svg");
  const caption = figure.querySelector("figcaption");
  if (!drawing || !caption) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "save as SVG";
  button.addEventListener("click", () => {
    const text = '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(drawing);
    const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = figure.dataset.name + ".svg";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  caption.append(" ", button);
});
document.querySelectorAll("select[data-figures]").forEach((menu) => {
  const choose = () => {
    document.querySelectorAll('figure[data-set="' + menu.dataset.figures + '"]').forEach((figure) => {
      figure.hidden = figure.dataset.choice !== menu.value;
    });
  };
  menu.addEventListener("change", choose);
  choose();
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("details:not(.screen)").forEach((part) => { part.open = true; });
});
