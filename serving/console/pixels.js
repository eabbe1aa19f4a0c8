// From pictures to the numbers of an image-shaped input. Pictures are gray or colour values from 0 to 1.

const SAMPLES = 6;
const EMPTY_BELOW = 0.08;
const DRAWN_SIZE = 224;

/**
 * Whether a shape [h, w] or [h, w, 1, 3 or 4], or a list of k * k values, may be a picture: its sizes, else null.
 * A side that varies is as long as it is drawn; `sides` has null for it.
 */
export function imageShape(spec, shape, mostValues) {
  if (spec.kind !== "decimal" && spec.kind !== "integer") return null;
  if (shape.length === 1 && shape[0] >= 49 && Number.isInteger(Math.sqrt(shape[0]))) {
    const side = Math.sqrt(shape[0]);
    return { height: side, width: side, channels: 1, sides: [side, side], shape, mostValues };
  }
  const [height, width, channels = 1] = shape;
  const fits = (shape.length === 2 && height >= 7 && width >= 7) || (shape.length === 3 && [1, 3, 4].includes(channels));
  const sizes = { height: height ?? DRAWN_SIZE, width: width ?? DRAWN_SIZE, channels };
  return fits && [sizes.height, sizes.width].every((size) => size >= 7 && size <= 2048)
    ? { ...sizes, sides: [height, width], shape, mostValues }
    : null;
}

/** The size that a picture is sent at: its own where both sides vary, less where a request would not hold it. */
export function sentSize({ sides: [height, width], channels, mostValues }, picture) {
  const most = mostValues / channels;
  const own = Math.min(1, Math.sqrt(most / (picture.width * picture.height)));
  const scale = height ? height / picture.height : width ? width / picture.width : own;
  const fitted = (size, other) => Math.max(1, Math.floor(Math.min(size * scale, most / (other ?? 1))));
  return { height: height ?? fitted(picture.height, width), width: width ?? fitted(picture.width, height) };
}

/** The values of a canvas, `channels` for each pixel, row by row. */
export function valuesOf(context, channels) {
  const { width, height } = context.canvas;
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Float32Array(width * height * channels);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const [red, green, blue, alpha] = data.subarray(pixel * 4, pixel * 4 + 4);
    if (channels === 1) values[pixel] = (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
    else [red, green, blue, alpha].slice(0, channels).forEach((value, c) => (values[pixel * channels + c] = value / 255));
  }
  return { width, height, channels, values };
}

/** Light to dark and dark to light. */
export function inverted(picture) {
  return { ...picture, values: picture.values.map((value) => 1 - value) };
}

/** The brightness that most of the edge has. */
export function edge({ width, height, channels, values }) {
  const found = [];
  for (let x = 0; x < width; x += 1) found.push(values[x * channels], values[((height - 1) * width + x) * channels]);
  for (let y = 0; y < height; y += 1) found.push(values[y * width * channels], values[(y * width + width - 1) * channels]);
  return found.sort((a, b) => a - b)[Math.floor(found.length / 2)];
}

/** A picture on dark paper whose paper is black and whose brightest ink is white. */
export function stretched(picture) {
  const paper = edge(picture);
  const brightest = picture.values.reduce((most, value) => Math.max(most, value), 0);
  const span = Math.max(brightest - paper, 0.05);
  return { ...picture, values: picture.values.map((value) => Math.min(1, Math.max(0, (value - paper) / span))) };
}

/** The frame of what is not empty, null for an empty picture. */
export function inkFrame({ width, height, values }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (values[y * width + x] < EMPTY_BELOW) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** The frame that, scaled to `width` x `height` less a margin, shows the ink in the middle and undistorted. */
export function fittedFrame(picture, width, height) {
  const ink = inkFrame(picture);
  if (!ink) return whole(picture);
  const margin = Math.min(width, height) >= 20 ? Math.round(Math.min(width, height) / 7) : 0;
  const scale = Math.max(ink.width / (width - 2 * margin), ink.height / (height - 2 * margin));
  const [frameWidth, frameHeight] = [width * scale, height * scale];
  return {
    left: ink.left + (ink.width - frameWidth) / 2,
    top: ink.top + (ink.height - frameHeight) / 2,
    width: frameWidth,
    height: frameHeight,
  };
}

/** The frame of all of a picture. */
export function whole(picture) {
  return { left: 0, top: 0, width: picture.width, height: picture.height };
}

/** What a frame of a picture shows, scaled to `width` x `height` by the mean of what each pixel covers. */
export function resized(picture, frame, width, height) {
  const { channels } = picture;
  if (picture.width === width && picture.height === height && frame.width === width && frame.height === height) return picture;
  const values = new Float32Array(width * height * channels);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        values[(y * width + x) * channels + channel] = covered(picture, frame, x / width, y / height, width, height, channel);
      }
    }
  }
  return { width, height, channels, values };
}

function covered(picture, frame, x, y, width, height, channel) {
  let sum = 0;
  for (let j = 0; j < SAMPLES; j += 1) {
    for (let i = 0; i < SAMPLES; i += 1) {
      const column = Math.floor(frame.left + frame.width * (x + (i + 0.5) / SAMPLES / width));
      const row = Math.floor(frame.top + frame.height * (y + (j + 0.5) / SAMPLES / height));
      if (column < 0 || row < 0 || column >= picture.width || row >= picture.height) continue;
      sum += picture.values[(row * picture.width + column) * picture.channels + channel];
    }
  }
  return sum / SAMPLES ** 2;
}

export const RANGES = {
  "0 to 1": [0, 1],
  "−1 to 1": [-1, 1],
  "0 to 16": [0, 16],
  "0 to 255": [0, 255],
};

/** The range that a list of sample values seems to have been scaled to, "" where it tells nothing. */
export function guessRange(values) {
  const most = Math.max(...values);
  if (Math.min(...values) < 0) return "−1 to 1";
  if (most <= 1) return "0 to 1";
  return most <= 16 ? "0 to 16" : "0 to 255";
}

/** Values from 0 to 1 in a range, whole where the dtype is, else with as many digits as help. */
export function scaled(values, [low, high], isWhole) {
  const digits = isWhole ? 0 : high > 2 ? 2 : 4;
  return Array.from(values, (value) => Number((low + value * (high - low)).toFixed(digits)));
}

/** Paint a picture on a canvas of its size. */
export function paint(canvas, { width, height, channels, values }) {
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < 4; channel += 1) {
      const from = channels === 1 ? pixel : pixel * channels + channel;
      image.data[pixel * 4 + channel] = channel === 3 && channels < 4 ? 255 : values[from] * 255;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
