// Sorts and filters a table of layers, and moves along it by keys; returns what marks a row as chosen. It is a plain table that the file already holds: it is
// there without script, found by the browser's search, and printed. DataTables (the bundle of itables) was weighed and left out:
// 620 kB of script and 107 kB of style, an ES module that would have to be cut open to stand in this file, pages or a virtual
// scroll where 2,000 rows need neither, and keys for cells where we want rows. These lines do what is left to do.
page.sortedTable = (table, choose) => {
  const around = table.closest(".layers");
  const noun = table.dataset.noun;
  const body = table.tBodies[0];
  const collator = new Intl.Collator("en", { numeric: true }); // layers.2 before layers.10
  const rows = [...body.rows].map((row) => ({
    row,
    link: row.querySelector("a"),
    name: row.querySelector("a").textContent,
    verdict: row.querySelector(".verdict").textContent,
    values: [...row.querySelectorAll("td")].map((cell) => cell.dataset.value ?? null),
  }));
  const headings = [...table.tHead.rows[0].cells];
  const visible = () => rows.filter(({ row }) => !row.hidden);
  let ordered = rows;

  // Beyond the first ones rows are not laid out until they are asked for; the filter and the order are over all.
  const more = around.querySelector(".more");
  let most = more ? Number(more.dataset.most) : Infinity;
  const lay = () => {
    let num = 0;
    for (const { row } of ordered) row.classList.toggle("beyond", !row.hidden && ++num > most);
    if (more) {
      more.hidden = num <= most;
      more.textContent = `Show all ${num} ${noun}`;
    }
  };
  more?.addEventListener("click", () => {
    most = Infinity;
    lay();
  });

  const keyOf = (column) => {
    if (column === "name" || column === "verdict") return (it) => it[column];
    const isNumber = headings.find((heading) => heading.dataset.column === column).classList.contains("num");
    return ({ values }) => (values[column] === null ? null : isNumber ? Number(values[column]) : values[column]);
  };

  const sort = (heading) => {
    const isNumber = heading.classList.contains("num");
    const present = heading.getAttribute("aria-sort");
    const direction = present === "none" ? (isNumber ? "descending" : "ascending") : present === "ascending" ? "descending" : "ascending";
    const key = keyOf(heading.dataset.column);
    const sign = direction === "ascending" ? 1 : -1;
    ordered = [...rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what is missing goes last, either way
      return sign * (typeof x === "number" ? x - y : collator.compare(x, y));
    });
    headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? direction : "none"));
    lay();
    body.append(...ordered.map(({ row }) => row));
  };
  headings.forEach((heading) => heading.querySelector("button").addEventListener("click", () => sort(heading)));

  // Each filter but the search goes by an attribute of rows: one of the words in it is the one that was chosen.
  const form = around.querySelector(".filters");
  const selects = [...form.querySelectorAll("select")];
  const filter = () => {
    const words = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { row, name } of rows) {
      const lower = name.toLowerCase();
      const isWanted = ({ value, dataset }) => !value || row.dataset[dataset.filter].split("|").includes(value);
      row.hidden = !words.every((word) => lower.includes(word)) || !selects.every(isWanted);
    }
    lay();
    const left = visible();
    form.querySelector(".count").textContent =
      left.length === rows.length ? `${rows.length} ${noun}` : `${left.length} of ${rows.length} ${noun}`;
    if (left.length && !left.some(({ link }) => link.tabIndex === 0)) reach(left[0].link);
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());

  // One row is reached by Tab, the others from it by arrows: nobody has to tab through 2,000 layers.
  const reach = (link) => rows.forEach((it) => (it.link.tabIndex = it.link === link ? 0 : -1));
  reach(rows[0].link);
  body.addEventListener("focusin", (event) => event.target.closest("a") && reach(event.target.closest("a")));
  body.addEventListener("keydown", (event) => {
    const links = ordered.filter(({ row }) => !row.hidden && !row.classList.contains("beyond")).map(({ link }) => link);
    const at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    links[Math.min(Math.max(to, 0), links.length - 1)].focus();
  });
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!event.target.closest("a") && !String(getSelection())) choose(Number(row.dataset.row));
  });

  if (selects.some(({ value }) => value)) filter(); // a choice that the page begins with

  return (i) => {
    for (const { row, link } of rows) {
      const isChosen = Number(row.dataset.row) === i;
      row.classList.toggle("chosen", isChosen);
      isChosen ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
      if (isChosen) {
        row.classList.remove("beyond");
        const [box, at] = [table.parentElement.getBoundingClientRect(), row.getBoundingClientRect()];
        const head = table.tHead.offsetHeight;
        if (at.height && (at.top < box.top + head || at.bottom > box.bottom))
          table.parentElement.scrollTop += at.top - box.top - (box.height + head) / 2; // the table moves, the page does not
      }
    }
  };
};
