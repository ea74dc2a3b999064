import { UserError } from "./errors.js";

const MOST_PIXELS = 4096 * 4096; // Safari on iPhones has no larger canvas

/**
 * Decodes a picture file.
 *
 * @param {Blob} blob The file.
 * @param {string} name Its name, for the error.
 * @returns {Promise<ImageBitmap>} The picture, turned as its EXIF data say.
 * @throws {UserError} If the browser cannot read it.
 */
export async function decode(blob, name) {
  try {
    // The training decodes pixels as they are stored too, whatever color profile is beside them.
    return await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch (error) {
    if (error.name !== "InvalidStateError") throw error;
    throw new UserError(`${name} is neither a .tflite file nor a picture that this browser can read.`);
  }
}

/**
 * The pixels of a picture or of a video's current frame.
 *
 * @param {ImageBitmap | HTMLVideoElement} source
 * @returns {ImageData} Its pixels; what is transparent becomes white.
 */
export function pixelsOf(source) {
  const [width, height] = sizeOf(source);
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(width * scale));
  canvas.height = Math.max(1, Math.floor(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Width and height in pixels of a picture or a video. */
export function sizeOf(source) {
  return [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
}

/**
 * Resizes to exactly the given size, whatever the aspect ratio, as the training does: `tf.image.resize` with
 * bilinear interpolation and antialias=True. A canvas would do it in another way in every browser.
 *
 * @param {ImageData} image
 * @param {number} width New width in pixels.
 * @param {number} height New height in pixels.
 * @returns {Uint8ClampedArray} RGB pixels, row by row, of length height · width · 3.
 */
export function resize(image, width, height) {
  const rows = new Float32Array(height * image.width * 3);
  triangles(image.height, height).forEach(({ first, weights }, row) => {
    const target = rows.subarray(row * image.width * 3, (row + 1) * image.width * 3);
    weights.forEach((weight, index) => {
      let from = (first + index) * image.width * 4;
      for (let to = 0; to < target.length; from += 4, to += 3) {
        target[to] += weight * image.data[from];
        target[to + 1] += weight * image.data[from + 1];
        target[to + 2] += weight * image.data[from + 2];
      }
    });
  });
  const pixels = new Uint8ClampedArray(height * width * 3); // rounds what it is given
  triangles(image.width, width).forEach(({ first, weights }, column) => {
    for (let row = 0; row < height; row++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        let from = (row * image.width + first) * 3 + channel;
        for (let index = 0; index < weights.length; index++, from += 3) sum += weights[index] * rows[from];
        pixels[(row * width + column) * 3 + channel] = sum;
      }
    }
  });
  return pixels;
}

/** For each of `to` new positions, the weights of the old ones around it: a triangle as wide as the pixels lie apart. */
function triangles(from, to) {
  const scale = from / to;
  const radius = Math.max(scale, 1);
  return Array.from({ length: to }, (_, position) => {
    const center = (position + 0.5) * scale - 0.5;
    const first = Math.max(0, Math.ceil(center - radius));
    const last = Math.min(from - 1, Math.floor(center + radius));
    const weights = new Float32Array(last - first + 1).map((_, index) => radius - Math.abs(first + index - center));
    const sum = weights.reduce((sum, weight) => sum + weight);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
