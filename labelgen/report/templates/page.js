"use strict";
(function () {
  function value(row, column) {
    const text = row.children[column].dataset.value;
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  }
  function order(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  }
  function sort(table, column, head) {
    const down = head.getAttribute("aria-sort") === "descending" ? false
      : head.getAttribute("aria-sort") === "ascending" ? true : head.classList.contains("number");
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map((row) => [value(row, column), row]);
    rows.sort((a, b) => {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null);
      return down ? order(b[0], a[0]) : order(a[0], b[0]);
    });
    rows.forEach((pair) => body.appendChild(pair[1]));
  }
  document.querySelectorAll("table.sortable").forEach((table) => {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", () => sort(table, column, head));
    });
    if (table.tBodies[0].rows.length < 12) return;
    const tools = document.createElement("label");
    tools.className = "tools";
    tools.textContent = "Show rows with ";
    const field = document.createElement("input");
    field.type = "search";
    tools.appendChild(field);
    table.parentElement.before(tools);
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      Array.from(table.tBodies[0].rows).forEach((row) => {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      });
    });
  });
  document.querySelectorAll("section").forEach((section) => {
    const cards = Array.from(section.querySelectorAll(".card"));
    const names = new Map();
    cards.forEach((card) => JSON.parse(card.dataset.classes).forEach((name) => names.set(name, (names.get(name) || 0) + 1)));
    if (names.size < 2) return;
    const tools = document.createElement("label");
    tools.className = "tools filter";
    tools.textContent = "Show images with ";
    const choice = document.createElement("select");
    choice.add(new Option("any class (" + cards.length + ")", ""));
    Array.from(names.keys()).sort().forEach((name) => choice.add(new Option(name + " (" + names.get(name) + ")", name)));
    tools.appendChild(choice);
    section.querySelector(".gallery").before(tools);
    choice.addEventListener("change", () => cards.forEach((card) => {
      card.hidden = choice.value !== "" && !JSON.parse(card.dataset.classes).includes(choice.value);
    }));
  });
})();
