"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const only = (selector) => document.querySelector(selector);

  // Matrix: score or difference; the statement of the selected tile; arrow keys move between tiles.
  const matrix = only(".matrix");
  if (matrix) {
    for (const radio of all('input[name="view"]')) {
      radio.addEventListener("change", () => { matrix.dataset.view = radio.value; });
      if (radio.checked) matrix.dataset.view = radio.value;
    }
    const rows = all("tbody tr", matrix).map((row) => all("td", row));
    const readout = only(".matrix .readout");
    const select = (cell) => {
      for (const other of rows.flat()) {
        other.classList.toggle("selected", other === cell);
        other.tabIndex = other === cell ? 0 : -1;
      }
      readout.textContent = cell.querySelector(".sentence").textContent;
      readout.classList.add("filled");
    };
    rows.forEach((row, y) => row.forEach((cell, x) => {
      cell.addEventListener("click", () => select(cell));
      cell.addEventListener("focus", () => select(cell));
      cell.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        const next = step && rows[y + step[0]]?.[x + step[1]];
        if (next) { event.preventDefault(); next.focus(); }
      });
    }));
  }

  // Answers: one benchmark at a time.
  const groups = all(".group");
  const showGroup = (id) => groups.forEach((group) => { group.hidden = group.id !== id; });
  for (const radio of all('input[name="group"]')) {
    radio.addEventListener("change", () => showGroup(radio.value));
    if (radio.checked) showGroup(radio.value);
  }

  // Pedigree: ancestors and descendants of the box under the pointer or the keyboard.
  const drawing = only(".pedigree svg");
  if (drawing) {
    const nodes = new Map(all(".node", drawing).map((node) => [node.dataset.id, node]));
    const parents = new Map([...nodes].map(([id, node]) => [id, node.dataset.parents.split("\n").filter(Boolean)]));
    const children = new Map([...nodes.keys()].map((id) => [id, []]));
    for (const [id, found] of parents) for (const parent of found) children.get(parent)?.push(id);
    const walk = (id, links, seen) => {
      for (const next of links.get(id) ?? []) if (!seen.has(next)) { seen.add(next); walk(next, links, seen); }
      return seen;
    };
    const readout = only(".pedigree .readout");
    const trace = (id) => {
      const line = new Set([id, ...walk(id, parents, new Set()), ...walk(id, children, new Set())]);
      drawing.classList.add("tracing");
      for (const [other, node] of nodes) node.classList.toggle("lit", line.has(other));
      for (const path of all("path", drawing)) path.classList.toggle("lit", line.has(path.dataset.from) && line.has(path.dataset.to));
      readout.textContent = nodes.get(id).dataset.about;
      readout.classList.add("filled");
    };
    for (const [id, node] of nodes) {
      for (const event of ["pointerenter", "focus", "click"]) node.addEventListener(event, () => trace(id));
      for (const event of ["pointerleave", "blur"]) node.addEventListener(event, () => drawing.classList.remove("tracing"));
    }
  }
})();
