"use strict";
// What the scripts share: the data, the theme, and the library of charts, which is started once the page has been painted.
// Names of layers are the models' own words: they go into the page as text, never as HTML.
const page = {
  redraws: [], // one function for every chart that was drawn: draws it again, in the present theme
};

// Data by name, parsed when they are first asked for.
page.data = (name) => {
  const element = document.getElementById(`${name}-data`);
  page.parsed ??= {};
  return (page.parsed[name] ??= element && JSON.parse(element.textContent));
};

page.escape = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

// Colours of figures are written as var(--name): what the theme says now takes their place.
page.themed = (value) => {
  const style = getComputedStyle(document.documentElement);
  const walk = (it) => {
    if (typeof it === "string") return it.replace(/^var\((--[\w-]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
    if (Array.isArray(it)) return it.map(walk);
    if (it && typeof it === "object") return Object.fromEntries(Object.entries(it).map(([key, inner]) => [key, walk(inner)]));
    return it;
  };
  return walk(value);
};

// Two frames later the page is on the screen.
page.plotly = new Promise((resolve) => {
  requestAnimationFrame(() =>
    setTimeout(() => {
      const script = document.createElement("script");
      script.textContent = document.getElementById("plotly-source").textContent;
      document.head.append(script);
      resolve(window.Plotly);
    }, 0),
  );
});

{
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = null; // for as long as the page is open: storage is not for files opened from disk
  const apply = (theme) => {
    root.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    page.redraws.forEach((redraw) => redraw());
  };
  const present = () => chosen ?? (prefersDark.matches ? "dark" : "light");
  button.hidden = false;
  button.addEventListener("click", () => apply((chosen = present() === "dark" ? "light" : "dark")));
  prefersDark.addEventListener("change", () => apply(present()));
  addEventListener("beforeprint", () => apply("light"));
  addEventListener("afterprint", () => apply(present()));
  apply(present());
}
