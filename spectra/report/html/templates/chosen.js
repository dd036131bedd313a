// What the panels beside the tables share: one of many things is chosen, and the address names it, so that it can be sent to
// somebody and the browser's back button works.
page.known = (value) => value !== null && value !== undefined && value !== "";
page.shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))).replace("-", "−") : String(value));
page.fixed = (value, digits) => (page.known(value) ? value.toFixed(digits) : "–");

page.definitions = (list) =>
  list.map(([term, value, meaning]) => {
    const [group, dt, dd] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    dt.textContent = term;
    dd.textContent = value;
    group.append(dt, dd);
    if (meaning) group.append(Object.assign(document.createElement("dd"), { className: "meaning", textContent: meaning }));
    return group;
  });

// key: of the address, #key=NAME; names: unique; show(i) is called when one is chosen; first: the one shown before that.
// Returns the function that chooses.
page.chosenByAddress = ({ key, names, panel, show, first }) => {
  const numberOf = new Map(names.map((name, i) => [name, i]));
  const fromAddress = () => {
    if (!location.hash.startsWith(`#${key}=`)) return null;
    try {
      return numberOf.get(decodeURIComponent(location.hash.slice(key.length + 2))) ?? null;
    } catch {
      return null; // not what this page wrote
    }
  };
  const named = fromAddress();
  let isChosen = named !== null;
  addEventListener("hashchange", () => {
    const i = fromAddress();
    if (i === null) return;
    isChosen = true;
    show(i);
    panel.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  });
  if (isChosen) {
    show(named);
    panel.scrollIntoView({ block: "nearest" });
  } else {
    page.whenSeen(panel.closest(".layers"), () => isChosen || show(first));
  }
  return (i) => {
    location.hash = `${key}=${encodeURIComponent(names[i])}`;
  };
};
