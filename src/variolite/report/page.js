"use strict";
// Saves a drawing as a file of its own, swaps the figures that a menu chooses among, sorts tables.
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
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const number = (text) => parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const rows = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
      const given = rows.filter(([text]) => text !== "");
      const numeric = given.every(([text]) => !Number.isNaN(number(text)));
      given.sort(([one], [other]) => sign * (
        numeric ? number(one) - number(other) : one.localeCompare(other, undefined, { numeric: true })));
      // What is missing stays last, whichever way the others are sorted.
      const empty = rows.filter(([text]) => text === "");
      body.append(...[...given, ...empty].map(([, row]) => row));
      heads.forEach((other) => { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  });
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("details:not(.screen)").forEach((part) => { part.open = true; });
});
