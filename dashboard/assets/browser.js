// What needs no server. One time axis: what is zoomed in one panel is zoomed in all, and a line follows the pointer
// through all of them. And which card is that of the source that is looked at.
(function () {
  "use strict";

  const panels = () => [...document.querySelectorAll(".panel.run .js-plotly-plot")].filter(
    (plot) => plot._fullLayout && plot._fullLayout.xaxis.type === "date",
  );
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  // The range a panel was zoomed to, null where it was zoomed out, undefined where something else was changed.
  function asked(change) {
    if (!change || typeof change !== "object") return undefined;
    if (change["xaxis.autorange"]) return null;
    if (change["xaxis.range"]) return change["xaxis.range"];
    if ("xaxis.range[0]" in change) return [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    return undefined;
  }

  // What all panels were last told to show: what comes back of that is no news.
  let told = null;

  function share(changes, now) {
    const { no_update, callback_context } = window.dash_clientside;
    for (const { value } of callback_context.triggered) {
      const range = asked(value);
      // Only dates are the axis that all share; a number belongs to a panel that has an axis of its own.
      if (range && typeof range[0] === "string" && !same(range, told)) return range;
      if (range === null && now) return null;
      if (range === null) follow(null);
    }
    return no_update;
  }

  function follow(range) {
    for (const plot of panels()) {
      told = range || plot.layout.meta.span;
      if (!same(plot.layout.xaxis.range, told)) window.Plotly.relayout(plot, { "xaxis.range": told });
    }
  }

  let looked_at;

  function select(source, cards) {
    if (source !== looked_at) window.dash_clientside.set_props("range", { data: null });
    looked_at = source;
    return cards.map(({ name }) => (name === source ? "card-place selected" : "card-place"));
  }

  function cross(event) {
    const plot = event.target.closest && event.target.closest(".panel.run .js-plotly-plot");
    const left = plot && panels().includes(plot) ? event.clientX - plot.getBoundingClientRect().left : -1;
    document.documentElement.style.setProperty("--cross", `${left}px`);
  }

  document.addEventListener("pointermove", cross, { passive: true });
  window.dash_clientside = Object.assign({}, window.dash_clientside, { inferometer: { share, follow, select } });
})();
