"use strict";
// Sorting and shortening of the table of clips; without this script the page shows all of them, the worst first.
(() => {
  const body = document.querySelector("table.clips tbody");
  if (!body) return;
  const rows = [...body.rows].map((row, index) => ({ row, index, keys: JSON.parse(row.dataset.keys) }));
  const headers = [...document.querySelectorAll("th[data-sort]")];
  const sort = document.getElementById("sort");
  const show = document.getElementById("show");
  let descending = true;

  // Numbers go by size, texts by the alphabet; what has no value comes last either way.
  const compare = (key) => (a, b) => {
    const [x, y] = [a.keys[key], b.keys[key]];
    if (x === y) return a.index - b.index;
    if (x === null) return 1;
    if (y === null) return -1;
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return descending ? -order : order;
  };

  const draw = () => {
    const key = sort.value;
    const ordered = key ? [...rows].sort(compare(key)) : rows;
    ordered.forEach(({ row }, place) => {
      row.hidden = show.value !== "" && place >= Number(show.value);
      body.append(row);
    });
    headers.forEach((header) => {
      const on = header.dataset.sort === key;
      header.setAttribute("aria-sort", on ? (descending ? "descending" : "ascending") : "none");
    });
  };

  headers.forEach((header) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = header.dataset.title;
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const key = header.dataset.sort;
      const repeated = sort.value === key;
      sort.value = key;
      descending = repeated ? !descending : sort.selectedOptions[0].dataset.order === "descending";
      draw();
    });
  });
  sort.addEventListener("change", () => {
    descending = sort.selectedOptions[0].dataset.order === "descending";
    draw();
  });
  show.addEventListener("change", draw);
  document.querySelectorAll('a[href^="#clip-"]').forEach((link) => {
    link.addEventListener("click", () => {
      show.value = "";
      draw();
    });
  });
  document.querySelector(".tools").hidden = false;
  if (rows.length <= 10) show.value = "";
  window.addEventListener("beforeprint", () => rows.forEach(({ row }) => { row.hidden = false; }));
  window.addEventListener("afterprint", draw);
  draw();
})();
