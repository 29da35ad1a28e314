/** The equity line with its drawdown below: two plots over one time axis, in the theme's colours. */

const AXIS_WIDTH = 64;
const ABOVE = 160;
const BELOW = 96;

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function tinted(colour, share) {
  const [, hex] = /^#([0-9a-f]{6})$/i.exec(colour) ?? [];
  return hex ? `#${hex}${Math.round(share * 255).toString(16).padStart(2, "0")}` : "transparent";
}

function seriesOf(points) {
  return [points.map(([at]) => at), points.map(([, equity]) => equity), points.map(([, , drawdown]) => drawdown)];
}

/** Whole amounts, or cents where the axis spans only a few units. */
function amounts(format) {
  return (_plot, values) => {
    const places = values.at(-1) - values[0] < 4 ? 2 : 0;
    return values.map((value) => (value === null ? "" : format.signed(value.toFixed(2), { unit: "", places })));
  };
}

/** Days, or the time of day where the axis spans no more than two of them. */
function days(zone, values) {
  const isShort = values.at(-1) - values[0] <= 2 * 86_400;
  const parts = isShort ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...parts });
}

function axes({ format, showsTime, zone }) {
  const text = token("--jt-text-3");
  const font = `11px ${token("--jt-font")}`;
  const line = { stroke: token("--jt-line"), width: 1 };
  const time = { stroke: text, font, grid: { show: false }, ticks: { show: false }, size: 26, space: 80 };
  time.values = (_plot, values) => {
    const written = days(zone, values);
    return values.map((at) => written.format(at * 1000));
  };
  return [
    { ...time, show: showsTime },
    { side: 1, stroke: text, font, grid: line, ticks: { show: false }, size: AXIS_WIDTH, space: showsTime ? 28 : 40, values: amounts(format) },
  ];
}

function build(place, data, { colour, fill, height, range, onMove, ...rest }) {
  const options = {
    width: Math.max(place.clientWidth, 100),
    height,
    padding: [8, 0, 6, 16],
    legend: { show: false },
    cursor: { sync: { key: "equity" }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range } },
    axes: axes(rest),
    series: [{}, { stroke: colour, fill, width: 1.5, points: { show: data[0].length < 3 } }],
    hooks: { setCursor: [(plot) => onMove?.(plot.cursor.idx)] },
  };
  return new window.uPlot(options, data, place);
}

export default function mount(element, { format }) {
  const points = JSON.parse(element.dataset.points);
  const { unit } = element.dataset;
  const zone = document.body.dataset.zone || "UTC";
  const reading = element.parentElement.querySelector("[data-reading]");
  const sentence = reading?.textContent ?? "";
  const [times, equity, drawdown] = seriesOf(points);
  let plots = [];

  function read(index) {
    if (!reading) return;
    const at = index === null || index === undefined ? null : times[index];
    reading.textContent =
      at === null
        ? sentence
        : `${format.when(at * 1000, { zone })}: ${format.signed(equity[index].toFixed(2), { unit })}, drawdown ${format.signed(drawdown[index].toFixed(2), { unit })}`;
  }

  function clear() {
    for (const plot of plots) plot.destroy();
    plots = [];
  }

  function draw() {
    clear();
    if (!window.uPlot || !element.isConnected || !points.length) return;
    const [above, below] = ["equity", "drawdown"].map((name) => element.querySelector(`[data-plot="${name}"]`));
    const shared = { unit, format, zone, onMove: read };
    const first = token("--jt-series-1");
    const loss = token("--jt-neg");
    plots = [
      build(above, [times, equity], {
        ...shared,
        colour: first,
        fill: tinted(first, 0.09),
        height: ABOVE,
        range: (_plot, low, high) => padded(Math.min(low, 0), Math.max(high, 0)),
        showsTime: false,
      }),
      build(below, [times, drawdown], {
        ...shared,
        colour: loss,
        fill: tinted(loss, 0.28),
        height: BELOW,
        range: (_plot, low) => [low < 0 ? low * 1.1 : -1, 0],
        showsTime: true,
      }),
    ];
  }

  function resize() {
    for (const plot of plots) {
      const width = plot.root.parentElement.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: plot.height });
    }
  }

  const observer = new ResizeObserver(resize);
  observer.observe(element);
  document.addEventListener("jt:theme", draw);
  if (window.uPlot) draw();
  else window.addEventListener("load", draw, { once: true });
  return () => {
    observer.disconnect();
    document.removeEventListener("jt:theme", draw);
    clear();
  };
}

function padded(low, high) {
  const room = (high - low || 1) * 0.06;
  return [low < 0 ? low - room : low, high + room];
}
