// Small drawings of numbers.

import { svg } from "./dom.js";

/** A line of the values, at least as high as `least`. It only repeats what the text beside it says. */
export function sparkline(values, least = 1) {
  const [width, height] = [120, 32];
  const most = Math.max(least, ...values);
  const step = width / Math.max(1, values.length - 1);
  const points = values.map((value, place) => [place * step, height - 2 - (value / most) * (height - 4)]);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const picture = svg("svg", {
    class: "sparkline",
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  if (points.length > 1) {
    picture.append(
      svg("polygon", { points: `0,${height} ${line} ${width},${height}` }),
      svg("polyline", { points: line, "vector-effect": "non-scaling-stroke" }),
    );
  }
  return picture;
}
