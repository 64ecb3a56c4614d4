/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Redraws the time charts with zoom and a readout; without it the SVG below stays what it is. */
(function () {
  "use strict";
  var plots = [];

  function style(figure, name) {
    /* Colours and dashes live in the style sheet only: ask an element that has them. */
    var svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    var path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", name);
    svg.setAttribute("class", "defs");
    svg.appendChild(path);
    figure.appendChild(svg);
    var s = getComputedStyle(path);
    var out = { stroke: s.stroke, fill: s.fill, width: parseFloat(s.strokeWidth) || 1,
      dash: s.strokeDasharray === "none" ? undefined : s.strokeDasharray.split(/[ ,]+/).map(parseFloat) };
    figure.removeChild(svg);
    return out;
  }

  function number(v) {
    return v == null ? "–" : Math.abs(v) >= 1000 ? v.toFixed(0) : String(Number(v.toPrecision(4)));
  }

  function columns(data) {
    var n = 0;
    data.series.forEach(function (s) { if (s.v) { n = Math.max(n, (s.from || 0) + s.v.length); } });
    var x = [];
    for (var i = 0; i < n; i++) { x.push(data.x0 + i * data.dx); }
    return [x].concat(data.series.map(function (s) {
      if (!s.v) { return x.map(function () { return s.flat; }); }
      var gap = [];
      for (var k = 0; k < (s.from || 0); k++) { gap.push(null); }
      gap = gap.concat(s.v);
      while (gap.length < n) { gap.push(null); }
      return gap;
    }));
  }

  function lines(figure, data) {
    return [{}].concat(data.series.map(function (s) {
      if (s.class.charAt(0) === "q") { return { stroke: "transparent", points: { show: false } }; }
      var look = style(figure, "line " + s.class);
      return { label: s.name, stroke: look.stroke, width: look.width, dash: look.dash, points: { show: false },
        paths: s.class === "cover" ? uPlot.paths.stepped({ align: 1 }) : undefined };
    }));
  }

  /* A fan: quantiles from the highest down, then the lines over them. */
  function bands(figure, data) {
    if (!data.fan) { return []; }
    return [{ series: [1, 5], fill: style(figure, "wide-band").fill }, { series: [2, 4], fill: style(figure, "near-band").fill }];
  }

  var hint = "Point at the chart for figures; drag to zoom, double-click to see all again.";

  function readout(data, at) {
    return function (u) {
      var i = u.cursor.idx;
      at.textContent = i == null ? hint : data.unit + " " + u.data[0][i].toFixed(data.unit === "day" ? 3 : 2) + ": " +
        data.series.map(function (s, k) { return u.data[k + 1][i] == null ? null : s.name + " " + number(u.data[k + 1][i]); })
          .filter(Boolean).join(", ") + " " + data.y;
    };
  }

  function axis(data, soft, line, vertical) {
    return { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif",
      size: vertical ? 62 : 34, values: function (u, v) {
        return v.map(function (x, i) { return vertical ? number(x) : (i === 0 ? data.unit + " " : "") + number(x); });
      } };
  }

  function draw(figure) {
    var data = JSON.parse(figure.querySelector("script.zoom").textContent);
    var svg = figure.querySelector("svg[role=img]");
    var box = document.createElement("div"), canvas = document.createElement("div"), text = document.createElement("p");
    var root = getComputedStyle(document.documentElement);
    var soft = root.getPropertyValue("--soft").trim(), line = root.getPropertyValue("--line").trim();
    box.className = "plot";
    text.className = "readout";
    text.textContent = hint;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", svg.querySelector("title").textContent + ". " + svg.querySelector("desc").textContent);
    box.appendChild(canvas);
    box.appendChild(text);
    figure.appendChild(box);
    figure.classList.add("zoomed");
    var high = 0, values = columns(data);
    values.slice(1).forEach(function (v, k) {
      if (!data.fan || data.series[k].class !== "q-out") { v.forEach(function (y) { if (y > high) { high = y; } }); }
    });
    var plot = new uPlot({
      width: Math.max(box.clientWidth, 200), height: data.fan ? 240 : 300, legend: { show: false }, cursor: { y: false },
      scales: { x: { time: false }, y: { range: [0, high * 1.06 || 1] } }, series: lines(figure, data), bands: bands(figure, data),
      axes: [axis(data, soft, line, false), axis(data, soft, line, true)], hooks: { setCursor: [readout(data, text)] }
    }, values, canvas);
    plots.push({ plot: plot, box: box, figure: figure });
  }

  function all() {
    plots.forEach(function (p) { p.plot.destroy(); p.box.remove(); p.figure.classList.remove("zoomed"); });
    plots = [];
    document.querySelectorAll("figure.time").forEach(draw);
  }

  function fit() {
    plots.forEach(function (p) { if (p.box.clientWidth > 0) { p.plot.setSize({ width: p.box.clientWidth, height: p.plot.height }); } });
  }

  all();
  window.addEventListener("resize", fit);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
