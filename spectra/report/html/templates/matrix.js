// The chosen matrix of a comparison: its spectra before, after and of the difference, principal angles, and intruders.
if (page.data("matrices")) {
  const data = page.data("matrices");
  const element = (id) => document.getElementById(id);
  const [panel, place] = [element("matrix-panel"), element("matrix-plot")];
  const { known, shown, fixed } = page;
  let chosen = null;

  const short = (value) => (known(value) ? shown(Number(value.toPrecision(3))) : "–");
  const alphaOf = (fit) => (fit ? `${fixed(fit[0], 2)}${fit[4] === "poor" ? " (doubtful)" : ""}` : "–");
  const facts = (row) =>
    [
      ["Relative change", known(row.relative_change) && short(row.relative_change)],
      ["Rank of the change", known(row.change_rank) && `${row.change_rank} of ${row.size}`],
      ["Stable rank of it", known(row.change_stable_rank) && short(row.change_stable_rank)],
      ["Overlap, left and right", known(row.overlap_left) && `${fixed(row.overlap_left, 3)}, ${fixed(row.overlap_right, 3)}`],
      ["Closest multiple", known(row.scale) && short(row.scale)],
      ["Alpha before", row.fits.before && alphaOf(row.fits.before)],
      ["Alpha after", row.fits.after && alphaOf(row.fits.after)],
    ].filter(([, value]) => value);

  const named = { before: data.base, after: "after", change: "difference" };
  const looks = { before: "--muted", after: "--color-1", change: "--color-2" };
  const places = { before: 0, after: 1, change: 2 };

  const law = (fit, num) => fit && known(fit[0]) && fit[0] && { alpha: fit[0], num_tail: fit[1], xmin: fit[2], xmax: fit[3], fit_quality: fit[4], num };

  const spectra = (i, wanted) => {
    const [row, found] = [data.rows[i], data.spectra[i]];
    const drawn = wanted.filter((part) => found[places[part]]);
    return page.spectraFigure(
      drawn.map((part) => {
        const spectrum = found[places[part]];
        return { name: named[part], color: looks[part], spectrum, law: law(row.fits[part], spectrum[0]) };
      }),
    );
  };

  const angles = (i) => {
    const sides = ["left", "right"].map((name, k) => {
      const y = data.rows[i].angles[k];
      return {
        type: "scatter", mode: "lines+markers", name, x: y.map((_, n) => n + 1), y,
        line: { color: `var(--color-${k + 1})` }, marker: { color: `var(--color-${k + 1})`, size: 7, symbol: k ? "square" : "circle" },
        hovertemplate: `${name}, angle %{x}: %{y:.3g}°<extra></extra>`,
      };
    });
    return {
      data: sides.filter(({ y }) => y.length),
      layout: {
        xaxis: { title: { text: "principal angle" }, tickformat: ",d" },
        yaxis: { title: { text: "degrees" }, range: [-3, 93], tickvals: [0, 30, 60, 90] },
      },
    };
  };

  const missing = {
    both: "The folder holds no spectra of this matrix before and after: compare again to have them.",
    change: "This matrix has no spectrum of a difference.",
    angles: "No leading subspaces were compared.",
  };

  const key = (traces) =>
    traces.filter(({ name, mode }) => name && mode !== "none").map(({ name, line }) => {
      const [entry, sign] = [document.createElement("span"), document.createElement("i")];
      sign.className = "line";
      sign.style.borderTopColor = line.color;
      entry.append(sign, name);
      return entry;
    });

  const draw = async () => {
    if (chosen === null) return;
    const i = chosen;
    const view = panel.querySelector("input[name=compared]:checked").value;
    const figure = view === "angles" ? angles(i) : spectra(i, view === "both" ? ["before", "after"] : ["change"]);
    const Plotly = await page.plotly;
    if (i !== chosen) return;
    place.hidden = !figure.data.length;
    element("matrix-missing").textContent = place.hidden ? missing[view] : "";
    element("matrix-key").replaceChildren(...(place.hidden || view === "change" ? [] : key(figure.data)));
    if (!place.hidden) await Plotly.react(place, page.themed(figure.data), page.layout(figure.layout, place), page.chartConfig);
    const what = { both: "Spectra before and after", change: "Spectrum of the difference", angles: "Principal angles before and after" }[view];
    place.setAttribute("aria-label", `${what}: ${data.names[i]}.`);
    Object.assign(place.dataset, { matrix: data.names[i], view });
  };

  const show = (i) => {
    chosen = i;
    const [row, [tone, word, sentence]] = [data.rows[i], data.verdicts[i]];
    panel.hidden = false;
    element("matrix-name").textContent = data.names[i];
    element("matrix-word").className = `verdict verdict-${tone}`;
    element("matrix-word").textContent = word;
    element("matrix-sentence").textContent = sentence;
    element("matrix-facts").replaceChildren(...page.definitions(facts(row)));
    element("matrix-intruders").hidden = !row.intruders.length;
    element("matrix-intruders").querySelector("tbody").replaceChildren(
      ...row.intruders.map((cells) => {
        const line = document.createElement("tr");
        cells.forEach((value, k) => line.append(Object.assign(document.createElement("td"), { className: k ? "num" : "", textContent: shown(value) })));
        return line;
      }),
    );
    markRow(i);
    draw();
  };

  page.redraws.push(draw);
  panel.querySelectorAll("input").forEach((input) => input.addEventListener("change", draw));
  const markRow = page.sortedTable(element("matrix-table"), (i) => page.chooseMatrix(i));
  page.chooseMatrix = page.chosenByAddress({ key: "matrix", names: data.names, panel, show, first: data.first });
}
