// The two views of the page "Explore", drawn as SVG from the data in the page itself.
document.addEventListener("DOMContentLoaded", () => {
  const NS = "http://www.w3.org/2000/svg";
  const BLUE = "#0072b2", ORANGE = "#d55e00", GREY = "#666666";
  const W = 720, H = 360, LEFT = 60, RIGHT = 20, TOP = 20, BOTTOM = 45;
  const make = (parent, name, attributes, text) => {
    const one = document.createElementNS(NS, name);
    Object.entries(attributes).forEach(([key, value]) => one.setAttribute(key, value));
    if (text !== undefined) one.textContent = text;
    parent.append(one);
    return one;
  };
  const two = (x) => Number(x.toPrecision(2)).toString().replace("-", "\u2212");
  const scale = (low, high, from, to) => (x) => from + ((x - low) / (high - low)) * (to - from);
  const ticks = (low, high) => { // round numbers: multiples of 1, 2 or 5 times a power of ten
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
    const first = Math.ceil(low / step), last = Math.floor(high / step);
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  };

  const start = (id, draw) => {
    const view = document.getElementById(id);
    if (!view) return;
    const data = JSON.parse(view.querySelector("script").textContent);
    const box = document.createElement("label");
    box.append(data.label);
    const choice = document.createElement("select");
    data.choices.forEach((one, i) => choice.add(new Option(one.name, i)));
    box.append(choice);
    const controls = document.createElement("div");
    controls.className = "controls";
    controls.append(box);
    const picture = document.createElement("div");
    const told = document.createElement("p");
    told.setAttribute("role", "status");
    view.append(controls, picture, told);
    const show = () => {
      picture.replaceChildren();
      told.textContent = draw(data.choices[choice.value], picture, data);
    };
    choice.addEventListener("change", show);
    view.classList.add("drawn");
    show();
  };

  const canvas = (picture, title, height = H) => {
    const svg = make(picture, "svg", { viewBox: `0 0 ${W} ${height}`, role: "img" });
    make(svg, "title", {}, title);
    return svg;
  };

  start("explore-line", (one, picture, data) => {
    const svg = canvas(picture, `Band of predictions with and without ${one.name}`);
    const laws = [["before", BLUE, "with all points"], ["after", ORANGE, "without the point"]];
    const xs = one.before.map((row) => row[0]);
    const sx = scale(Math.min(...xs), Math.max(...xs), LEFT, W - RIGHT);
    const ends = data.choices.flatMap((c) => [...c.before, ...c.after]
      .flatMap(([, mean, sd]) => [mean - 2 * sd, mean + 2 * sd]));
    const low = Math.min(...ends), high = Math.max(...ends);
    const sy = scale(low, high, H - BOTTOM, TOP);
    ticks(low, high).forEach((t) => {
      make(svg, "line", { x1: LEFT, x2: W - RIGHT, y1: sy(t), y2: sy(t), stroke: "#dddddd" });
      make(svg, "text", { x: LEFT - 8, y: sy(t) + 5, "text-anchor": "end" }, two(t));
    });
    ticks(Math.min(...xs), Math.max(...xs)).forEach((t) =>
      make(svg, "text", { x: sx(t), y: H - BOTTOM + 20, "text-anchor": "middle" }, two(t)));
    make(svg, "text", { x: W / 2, y: H - 6, "text-anchor": "middle" }, "input x");
    laws.forEach(([law, colour, words], i) => {
      const up = one[law].map(([x, m, s]) => `${sx(x)},${sy(m + 2 * s)}`);
      const down = one[law].map(([x, m, s]) => `${sx(x)},${sy(m - 2 * s)}`).reverse();
      make(svg, "polygon", { points: [...up, ...down].join(" "), fill: colour, opacity: 0.25 });
      make(svg, "polyline", { points: one[law].map(([x, m]) => `${sx(x)},${sy(m)}`).join(" "),
        fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": i ? "7 4" : "none" });
      make(svg, "text", { x: LEFT + 12, y: TOP + 16 + 20 * i, style: `fill:${colour}` },
        `${i ? "- -" : "\u2014"} ${words}`);
    });
    if (one.x !== null) {
      make(svg, "line", { x1: sx(one.x), x2: sx(one.x), y1: TOP, y2: H - BOTTOM, stroke: GREY, "stroke-dasharray": "2 4" });
      const right = sx(one.x) > W / 2;
      make(svg, "text", { x: sx(one.x) + (right ? -5 : 5), y: H - BOTTOM - 6, "text-anchor": right ? "end" : "start" }, "the point");
    }
    let best = 0;
    one.before.forEach(([, , sd], i) => {
      const ratio = (k) => Math.abs(Math.log(one.after[k][2] / one.before[k][2]));
      if (ratio(i) > ratio(best)) best = i;
    });
    const [x, mean, sd] = one.before[best], [, newMean, newSd] = one.after[best];
    return `Without ${one.name} the spread changes most at x = ${two(x)}: standard deviation `
      + `${two(sd)} with it, ${two(newSd)} without; mean ${two(mean)} with it, ${two(newMean)} without.`;
  });

  start("explore-digits", (one, picture) => {
    const digits = document.createElement("div");
    digits.className = "digits";
    [["training digit left out", one.train], ["query digit", one.query]].forEach(([words, digit]) => {
      const figure = document.createElement("figure");
      const image = document.createElement("img");
      image.src = digit.image;
      image.alt = `${words}, a handwritten ${digit.label}`;
      const caption = document.createElement("figcaption");
      caption.textContent = `${words} (id ${digit.id})`;
      figure.append(image, caption);
      digits.append(figure);
    });
    picture.append(digits);
    const step = 30, height = TOP + step * one.methods.length + BOTTOM;
    const svg = canvas(picture, `Shift of ${one.name}, a dot a seed, by retraining and by estimators`, height);
    const values = one.methods.flatMap((m) => m.values);
    const low = Math.min(0, ...values), high = Math.max(0, ...values);
    const sx = scale(low, high, 190, W - RIGHT);
    make(svg, "line", { x1: sx(0), x2: sx(0), y1: TOP - 10, y2: height - BOTTOM, stroke: GREY, "stroke-dasharray": "2 4" });
    [...new Set([low, 0, high])].forEach((t) =>
      make(svg, "text", { x: sx(t), y: height - BOTTOM + 18, "text-anchor": t === high ? "end" : "middle" }, two(t)));
    make(svg, "text", { x: 190 + (W - RIGHT - 190) / 2, y: height - 6, "text-anchor": "middle" }, "shift upon removal, scaled as in figure F02c");
    one.methods.forEach((method, i) => {
      const y = TOP + step * i + 8;
      make(svg, "text", { x: 180, y: y + 5, "text-anchor": "end" }, method.name);
      const colour = i ? ORANGE : BLUE;
      method.values.forEach((v) => make(svg, "circle", { cx: sx(v), cy: y, r: 4, fill: colour, opacity: 0.55 }));
      const mean = method.values.reduce((a, b) => a + b) / method.values.length;
      make(svg, "line", { x1: sx(mean), x2: sx(mean), y1: y - 10, y2: y + 10, stroke: "#222222", "stroke-width": 2 });
    });
    const positive = (m) => m.values.filter((v) => v > 0).length;
    const [truth, ...others] = one.methods;
    return `${truth.name}: ${positive(truth)} of ${truth.values.length} seeds say that the digit helps. `
      + others.map((m) => `${m.name}: ${positive(m)}`).join("; ") + ".";
  });
});
