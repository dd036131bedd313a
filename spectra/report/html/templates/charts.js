// Draws charts where the page has a place for them, when that place comes into view; legends hide and show their series.
page.layout = (own, place) => {
  const axis = {
    gridcolor: "var(--grid)", linecolor: "var(--axis)", tickcolor: "var(--axis)", ticks: "outside", ticklen: 4, showline: true,
    zeroline: false, automargin: true, title: { font: { size: 13 }, standoff: 10 }, fixedrange: false,
  };
  const merged = (name) => ({ ...axis, ...own[name], title: { ...axis.title, ...(own[name] ?? {}).title } });
  return page.themed({
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "var(--muted)" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 12, t: 12, b: 44 }, showlegend: false, hovermode: "closest", dragmode: "pan",
    hoverlabel: { bgcolor: "var(--raised)", bordercolor: "var(--line)", align: "left", font: { color: "var(--ink)", size: 12 } },
    height: place.clientHeight,
    ...own, xaxis: merged("xaxis"), yaxis: merged("yaxis"),
  });
};
page.chartConfig = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: "reset" };

page.drawChart = async (place) => {
  const Plotly = await page.plotly;
  const own = page.data("charts")[place.dataset.chart];
  const hidden = new Set();
  const draw = () => {
    const traces = page.themed(own.data).map((trace) => ({ ...trace, visible: !hidden.has(trace.legendgroup) }));
    return Plotly.react(place, traces, page.layout(own.layout, place), page.chartConfig);
  };
  await draw();
  place.dataset.drawn = "true";
  page.redraws.push(draw);
  place.on("plotly_click", ({ points }) => {
    const row = points[0].customdata;
    const choose = place.closest(".section-comparison") ? page.chooseMatrix : page.chooseLayer;
    if (typeof row === "number") choose?.(row);
  });
  page.emboldenLines(place);
  document.querySelectorAll(`.legend button[data-for="${place.dataset.chart}"]`).forEach((button) =>
    button.addEventListener("click", () => {
      const shown = hidden.delete(button.dataset.group);
      if (!shown) hidden.add(button.dataset.group);
      button.setAttribute("aria-pressed", String(shown));
      draw();
    }),
  );
};

// Of many lines in one trace, with a gap after each, the one under the pointer is drawn once more, bold. Drawn over the chart and
// not by it: a trace of its own would have the chart drawn anew, which takes the label away again.
page.emboldenLines = (place) => {
  let path = null;
  const clear = () => path?.remove();
  place.on("plotly_hover", ({ points: [{ data, pointNumber, xaxis, yaxis }] }) => {
    clear();
    if (data.meta !== "lines") return;
    const first = data.x.lastIndexOf(null, pointNumber) + 1;
    const isStepped = data.line.shape === "hv";
    let d = "";
    for (let i = first; data.x[i] !== null; i++) {
      if (data.y[i] === null) continue;
      const [x, y] = [xaxis.c2p(data.x[i]), yaxis.c2p(data.y[i])];
      const isStart = i === first || data.y[i - 1] === null;
      d += isStart ? `M${x},${y}` : isStepped ? `H${x}V${y}` : `L${x},${y}`;
    }
    path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", "bold-line");
    path.setAttribute("d", d);
    path.style.stroke = data.line.color;
    place.querySelector(".scatterlayer").append(path);
  });
  place.on("plotly_unhover", clear);
};

// Calls back once, when an element is near the window; printing needs them all.
page.whenSeen = (element, callback) => {
  let done = false;
  const once = () => {
    if (!done) callback();
    done = true;
    observer.disconnect();
  };
  const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && once(), {
    rootMargin: "400px",
  });
  observer.observe(element);
  addEventListener("beforeprint", once);
};

document.querySelectorAll("[data-chart]").forEach((place) => page.whenSeen(place, () => page.drawChart(place)));
