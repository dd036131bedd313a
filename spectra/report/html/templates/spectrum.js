// The spectrum of one layer as a figure: what was counted, and the curves that go with it, as densities or as shares above.
{
  // The Marchenko-Pastur law between its edges, at x = c - r cos(t), where it is smooth: density and share of values above x.
  // In terms of the edges alone, s = ((√b + √a) / 2)² = Nσ² and γ s = ((√b - √a) / 2)² (docs/report.md has the formula).
  page.bulk = (a, b, num = 240) => {
    const [center, radius] = [(a + b) / 2, (b - a) / 2];
    const gammaScale = ((Math.sqrt(b) - Math.sqrt(a)) / 2) ** 2;
    const x = [], density = [], above = [];
    const slice = (t) => (radius * Math.sin(t)) ** 2 / (2 * Math.PI * gammaScale * (center - radius * Math.cos(t)));
    let below = 0;
    for (let i = 0; i <= num; i++) {
      const t = (Math.PI * i) / num;
      const inside = i > 0 && i < num;
      if (i > 0) below += (slice(Math.PI * (i - 0.5) / num) * Math.PI) / num; // midpoints: square matrices have a pole at 0
      x.push(center - radius * Math.cos(t));
      density.push(inside ? slice(t) / (radius * Math.sin(t)) : 0);
      above.push(1 - below);
    }
    return { x, density, above };
  };

  const geometric = (first, last, num) => Array.from({ length: num }, (_, i) => first * (last / first) ** (i / (num - 1)));

  const steps = ([first, last, , counts], isLog) => {
    const at = (i) => (isLog ? first * (last / first) ** (i / counts.length) : first + ((last - first) * i) / counts.length);
    return counts.map((count, i) => ({ low: at(i), high: at(i + 1), count }));
  };

  const histogram = (bins, num, isLog) => {
    const x = [], y = [];
    for (const { low, high, count } of bins) {
      const density = count / (high - low) / num;
      x.push(low, high);
      y.push(isLog && count === 0 ? null : density, isLog && count === 0 ? null : density);
    }
    return { x, y };
  };

  const line = (name, color, dash, x, y, width = 2) => ({
    type: "scatter", mode: "lines", name, x, y, line: { color: `var(${color})`, dash, width }, hoverinfo: "skip",
  });

  const mark = (value, color, dash) => ({
    type: "line", x0: value, x1: value, y0: 0, y1: 1, yref: "paper", line: { color: `var(${color})`, width: 1.25, dash },
  });

  // The outline of another spectrum, such as the one before training, in the same view.
  const outline = ([num, logBins, linearBins, values], ranks, view) => {
    const shape = view === "ccdf" ? { x: values, y: ranks.map((rank) => rank / num) }
      : histogram(steps(view === "log" ? logBins : linearBins, view === "log"), num, view === "log");
    return { ...line("before", "--muted", "solid", shape.x, shape.y, 1.5), connectgaps: false };
  };

  // layer: numbers by column; spectrum: [num, logBins, linearBins, values]; ranks: of the values; before: another spectrum and
  // its ranks, or null.
  page.spectrumFigure = (layer, spectrum, ranks, { view, overlays, inverse }, before = null) => {
    const [num, logBins, linearBins, values] = spectrum;
    const symbol = inverse ? "1/λ" : "λ";
    const isLog = view !== "linear", isCcdf = view === "ccdf";
    const bins = isLog ? logBins : linearBins;
    const traces = [], shapes = [];
    if (isCcdf) {
      traces.push({
        type: "scatter", mode: "markers", name: "eigenvalues", x: values, y: ranks.map((rank) => rank / num),
        marker: { color: "var(--color-1)", size: 5 }, customdata: ranks,
        hovertemplate: `%{customdata} of ${num} from %{x:.4g} on<extra></extra>`,
      });
    } else {
      const found = steps(bins, isLog);
      const shape = histogram(found, num, isLog);
      traces.push({
        type: "scatter", mode: "lines", name: "eigenvalues", ...shape, hoverinfo: "skip", connectgaps: false,
        line: { color: "var(--color-1)", width: 1.25 }, ...(isLog ? {} : { fill: "tozeroy", fillcolor: "var(--fill-1)" }),
      });
      if (isLog) traces.unshift(...bars(found, num));
      traces.push({
        type: "scatter", mode: "markers", name: "bins", marker: { size: 12, opacity: 0 },
        x: found.map(({ low, high }) => (isLog ? Math.sqrt(low * high) : (low + high) / 2)),
        y: found.map(({ low, high, count }) => (count || !isLog ? count / (high - low) / num : null)),
        text: found.map(({ low, high, count }) => `${count} from ${short(low)} to ${short(high)}`),
        hovertemplate: "%{text}<extra></extra>",
      });
    }
    if (before && overlays.before) traces.push(outline(...before, view));
    if (overlays.law && layer.alpha !== null) {
      const x = geometric(layer.xmin, layer.xmax, 80);
      const share = layer.num_tail / num;
      const scale = isCcdf ? share : (share * (layer.alpha - 1)) / layer.xmin;
      const exponent = isCcdf ? 1 - layer.alpha : -layer.alpha;
      traces.push(line("power law", "--ink", layer.fit_quality === "poor" ? "dash" : "solid", x,
        x.map((value) => scale * (value / layer.xmin) ** exponent)));
      shapes.push(mark(layer.xmin, "--muted", "dot"));
    }
    const bulk = (name, color, dash, lower, upper, share) => {
      const curve = page.bulk(lower, upper);
      const kept = curve.x.map((x, i) => [x, share * (isCcdf ? curve.above[i] : curve.density[i])])
        .filter(([x, y]) => (isLog ? x > 0 && y > 0 : Number.isFinite(y)));
      traces.push(line(name, color, dash, kept.map(([x]) => x), kept.map(([, y]) => y)));
    };
    const comparable = !inverse && layer.num_windows == null;
    if (comparable && overlays.bulk && layer.lambda_plus != null) {
      // The bulk is what is left without the spikes; of a spectrum with null values it is drawn over all eigenvalues.
      bulk("Marchenko–Pastur", "--color-2", "solid", layer.lambda_minus, layer.lambda_plus,
        (layer.num_eigenvalues - (layer.num_spikes ?? 0)) / num);
    }
    if (comparable && overlays.random && layer.rand_lambda_plus != null) {
      bulk("randomised", "--color-3", "dash", layer.rand_lambda_minus, layer.rand_lambda_plus, layer.num_eigenvalues / num);
      if (layer.rand_lambda_max != null) shapes.push(mark(layer.rand_lambda_max, "--color-3", "dash"));
    }
    const counted = isCcdf ? ranks.map((rank) => rank / num)
      : steps(bins, isLog).map(({ low, high, count }) => count / (high - low) / num).filter((y) => y > 0);
    const [least, most] = [Math.min(...counted), Math.max(...counted)];
    const low = isCcdf ? values[values.length - 1] : bins[0];
    const heights = isLog ? [Math.log10(least) - 0.4, Math.log10(most) + 0.4] : [0, most * 1.08];
    const range = isLog ? [Math.log10(Math.max(low, logBins[0])), Math.log10(logBins[1]) + 0.05] : [0, bins[1] * 1.02];
    return {
      data: traces,
      layout: {
        shapes,
        xaxis: { type: isLog ? "log" : "linear", range, title: { text: `${inverse ? "inverse " : ""}eigenvalue ${symbol}` },
          exponentformat: "power", dtick: isLog ? step(range) : undefined },
        yaxis: { type: isLog ? "log" : "linear", exponentformat: "power", nticks: 7,
          title: { text: isCcdf ? `share of eigenvalues ≥ ${symbol}` : `density ρ(${symbol})` },
          range: heights, dtick: isLog ? step(heights) : undefined },
      },
      numOutside: isCcdf ? 0 : bins[2],
    };
  };

  // Several spectra in one view, as outlines on logarithmic axes, each with its fitted law where it has one.
  page.spectraFigure = (drawn) => {
    const data = [];
    for (const { name, color, spectrum: [num, logBins], law } of drawn) {
      const shape = histogram(steps(logBins, true), num, true);
      data.push({ ...line(name, color, "solid", shape.x, shape.y, 1.75), connectgaps: false });
      if (!law) continue;
      const x = geometric(law.xmin, law.xmax, 80);
      const scale = ((law.num_tail / num) * (law.alpha - 1)) / law.xmin;
      const dash = law.fit_quality === "poor" ? "dash" : "solid";
      data.push({ ...line("", color, dash, x, x.map((value) => scale * (value / law.xmin) ** -law.alpha), 1.25), opacity: 0.8 });
    }
    return {
      data,
      layout: {
        xaxis: { type: "log", title: { text: "eigenvalue λ" }, exponentformat: "power" },
        yaxis: { type: "log", title: { text: "density ρ(λ)" }, exponentformat: "power", nticks: 7 },
      },
    };
  };

  // On logarithmic axes an area down to zero has no end: it goes down to well below what is shown.
  const bars = (found, num) => {
    const filled = found.filter(({ count }) => count > 0);
    const floor = Math.min(...filled.map(({ low, high, count }) => count / (high - low) / num)) / 1e3;
    const x = [], y = [];
    for (const { low, high, count } of filled) {
      const density = count / (high - low) / num;
      x.push(low, low, high, high, null);
      y.push(floor, density, density, floor, null);
    }
    return [{ type: "scatter", mode: "none", name: "area", x, y, fill: "toself", fillcolor: "var(--fill-1)", hoverinfo: "skip" }];
  };

  // Powers of ten; where there are few of them, twice and five times these; where there are many, every other.
  const step = ([low, high]) => (high - low < 2.4 ? "D2" : Math.ceil((high - low) / 7));

  const short = (value) => String(Number(value.toPrecision(3)));
}
