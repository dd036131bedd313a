// The chosen layer: its spectrum, what is said of it, and its numbers.
if (page.data("layers")) {
  const data = page.data("layers");
  const element = (id) => document.getElementById(id);
  const [panel, place] = [element("layer-panel"), element("spectrum")];
  let chosen = null;

  const rowOf = (i) => Object.fromEntries(data.columns.map((name, k) => [name, page.data("rows")[i][k]]));
  const { known, shown, fixed, definitions } = page;

  const facts = (row, i) => {
    const list = [];
    if (known(row.alpha)) list.push(["Alpha", `${fixed(row.alpha, 2)} ± ${fixed(row.alpha_std_error, 2)}`]);
    if (known(page.data("before")?.alphas[i])) list.push(["Alpha before", fixed(page.data("before").alphas[i], 2)]);
    if (known(row.alpha_low)) list.push(["95 % interval", `${fixed(row.alpha_low, 2)}–${fixed(row.alpha_high, 2)}`]);
    if (known(row.ks_distance)) list.push(["KS distance", fixed(row.ks_distance, 3)]);
    if (known(row.num_tail)) list.push(["Tail", `${row.num_tail} of ${row.num_eigenvalues}`]);
    if (known(row.xmin)) list.push(["Tail starts at", shown(Number(row.xmin.toPrecision(4)))]);
    if (known(row.fit_quality)) list.push(["Fit", row.fit_quality]);
    if (known(row.ks_pvalue)) list.push(["p-value", fixed(row.ks_pvalue, 2)]);
    if (known(row.num_spikes)) list.push(["Spikes", `${row.num_spikes} above λ₊ ${shown(Number(row.lambda_plus.toPrecision(4)))}`]);
    if (known(row.mp_quality)) list.push(["Random bulk", `${row.mp_quality} (KS ${fixed(row.mp_bulk_ks_distance, 3)})`]);
    if (known(row.rand_distance)) list.push(["Distance to randomised", fixed(row.rand_distance, 3)]);
    if (known(row.stable_rank)) list.push(["Stable rank", fixed(row.stable_rank, 1)]);
    if (known(row.lambda_max)) list.push(["Largest λ", shown(Number(row.lambda_max.toPrecision(4)))]);
    return list;
  };

  const settings = () => ({
    view: panel.querySelector("input[name=view]:checked").value,
    overlays: Object.fromEntries([...panel.querySelectorAll("input[name=overlay]")].map((box) => [box.value, box.checked])),
    inverse: data.inverse,
  });

  const missing = (row) => {
    const parts = [];
    if (row.mp_quality === "poor") parts.push("The bulk is not Marchenko–Pastur: read the spikes as a description, not a count of signals.");
    if (row.lambda_plus === undefined) parts.push("No random bulk: analyse with --mp-fit.");
    if (row.rand_lambda_plus === undefined) parts.push("No randomised spectrum: analyse with --randomize.");
    return parts;
  };

  // The spectrum that the layer had, where there is one: [spectrum, ranks].
  const before = (i) => {
    const found = page.data("before");
    const spectrum = found?.spectra[i];
    return spectrum ? [spectrum, found.ranks[spectrum[0]]] : null;
  };

  const draw = async () => {
    if (chosen === null) return;
    const [i, row, spectrum] = [chosen, rowOf(chosen), page.data("spectra").spectra[chosen]];
    const Plotly = await page.plotly;
    if (i !== chosen) return; // another one was chosen while the library started
    place.hidden = !spectrum;
    const notes = missing(row);
    if (spectrum) {
      const figure = page.spectrumFigure(row, spectrum, page.data("spectra").ranks[spectrum[0]], settings(), before(i));
      await Plotly.react(place, page.themed(figure.data), page.layout(figure.layout, place), page.chartConfig);
      if (figure.numOutside) notes.unshift(`${figure.numOutside} of ${spectrum[0]} eigenvalues lie outside this view.`);
      const fit = known(row.alpha) ? `, with a power law of alpha ${fixed(row.alpha, 2)} from ${shown(row.xmin)} on` : "";
      place.setAttribute("aria-label", `Spectrum of ${data.names[i]}: ${spectrum[0]} eigenvalues${fit}.`);
    } else {
      notes.unshift("This layer has no spectrum to draw.");
    }
    Object.assign(place.dataset, { layer: data.names[i], view: settings().view });
    element("layer-missing").textContent = notes.join(" ");
  };

  const show = (i) => {
    chosen = i;
    const row = rowOf(i);
    const [tone, word, sentence] = page.data("verdicts")[i];
    panel.hidden = false;
    element("layer-name").textContent = data.names[i];
    element("layer-word").className = `verdict verdict-${tone}`;
    element("layer-word").textContent = word;
    element("layer-sentence").textContent = sentence;
    element("layer-facts").replaceChildren(...definitions(facts(row, i)));
    const all = data.columns.map((name, k) => [name, row[name], data.meanings[k]]).filter(([, value]) => known(value));
    element("layer-numbers").replaceChildren(...definitions(all.map(([name, value, meaning]) => [name, shown(value), meaning])));
    for (const [value, column] of [["law", "alpha"], ["bulk", "lambda_plus"], ["random", "rand_lambda_plus"]])
      panel.querySelector(`input[value=${value}]`).disabled = !known(row[column]) || (value !== "law" && (data.inverse || known(row.num_windows)));
    markRow(i);
    draw();
  };

  page.redraws.push(draw);
  panel.querySelectorAll("input").forEach((input) => input.addEventListener("change", draw));
  const markRow = page.sortedTable(element("layer-table"), (i) => page.chooseLayer(i));
  page.chooseLayer = page.chosenByAddress({ key: "layer", names: data.names, panel, show, first: data.first });
}
