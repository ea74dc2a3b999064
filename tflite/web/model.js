import { UserError } from "./errors.js";
import { readTflite } from "./tflite_file.js";

const WASM = new URL("node_modules/@litertjs/core/wasm/", import.meta.url).href;
const ARRAYS = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array };
const LIMITS = { int8: [-128, 127], uint8: [0, 255] };

let loading = null;
let log = []; // what LiteRT printed

/** Loads LiteRT.js, 9 MB of WebAssembly, once. */
function loadRuntime() {
  loading ??= import("@litertjs/core").then(
    ({ loadLiteRt }) => {
      globalThis.Module = { printErr: (line) => log.push(line) }; // where Emscripten's programs look for it
      return loadLiteRt(WASM);
    },
    () => {
      throw new UserError("LiteRT.js is not there: start the page with `make web`, which installs it.");
    },
  );
  return loading;
}

/**
 * A .tflite file that classifies pictures or finds objects in them, run by LiteRT.js on the CPU.
 *
 * It calls LiteRT.js's WebAssembly itself and not `loadAndCompile`, which refuses int8 inputs and outputs (2.5.3).
 */
export class Model {
  #wasm;
  #environment;
  #compiled;
  #model;
  #address;
  #input;

  /**
   * Loads a model.
   *
   * @param {Uint8Array} bytes The .tflite file.
   * @returns {Promise<Model>}
   * @throws {UserError} If its input is no RGB picture, or its outputs are neither one score a class nor a detector's
   *   boxes, classes, scores and count, or LiteRT.js cannot run it.
   */
  static async load(bytes) {
    const file = await readTflite(bytes);
    check(file);
    const model = new Model(file, await loadRuntime());
    log = [];
    try {
      await model.#compile(bytes);
    } catch (error) {
      log.push(`ERROR: ${error.message ?? error}`);
    }
    // A model that it cannot run gets no exception but answers from uninitialized memory (2.5.3).
    const errors = log.filter((line) => line.startsWith("ERROR: "));
    if (errors.length) {
      model.delete();
      const reason = errors.find((line) => line.includes("failed to prepare")) ?? errors[0];
      throw new UserError(`LiteRT.js cannot run this model: ${reason.replace("ERROR: ", "")}`);
    }
    return model;
  }

  /** For `load`: what was read from the file, and LiteRT.js. */
  constructor(file, runtime) {
    this.file = file;
    this.height = file.inputs[0].shape[1];
    this.width = file.inputs[0].shape[2];
    /** Whether it finds objects; else it classifies. */
    this.isDetector = file.outputs.length > 1;
    /** The number of classes; of a detector's, null if the file has no labels. */
    this.classes = this.isDetector ? (file.labels?.length ?? null) : file.outputs[0].shape[1];
    /** What pixels from 0 to 255 are normalized with, one number or one a channel; null if the file does not say. */
    this.normalization = file.normalization ?? wholeRange(file.inputs[0]);
    this.#wasm = runtime.liteRtWasm;
    this.#environment = runtime.getDefaultEnvironment().liteRtEnvironment;
  }

  async #compile(bytes) {
    this.#address = this.#wasm._malloc(bytes.length);
    this.#wasm.HEAPU8.set(bytes, this.#address);
    const options = { accelerator: "wasm", cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} };
    this.#model = this.#wasm.loadModel(this.#environment, this.#address, bytes.length);
    this.#compiled = await this.#wasm.compileModel(this.#environment, this.#model, options);
    /** Whether XNNPACK has all of the file's operators. */
    this.isAllInXnnpack = this.#compiled.isFullyAccelerated();
    this.#input = this.#allocate(this.file.inputs[0]);
    for (const buffer of await this.#compiled.run(0, [this.#input])) buffer.delete(); // does it run at all?
  }

  #allocate({ shape, type }) {
    const { VectorInt32, LiteRtLayout, LiteRtRankedTensorType, LiteRtTensorBuffer } = this.#wasm;
    const dimensions = new VectorInt32();
    for (const size of shape) dimensions.push_back(size);
    const layout = LiteRtLayout.create(dimensions);
    const inModel = this.#model.getInputTensorType(0, 0); // where the batch may be of any size
    const tensorType = LiteRtRankedTensorType.create(inModel.elementType(), layout);
    const sizeBytes = shape.reduce((product, size) => product * size) * ARRAYS[type].BYTES_PER_ELEMENT;
    const memory = this.#wasm.LiteRtTensorBufferType.HOST_MEMORY;
    const buffer = LiteRtTensorBuffer.createManaged(this.#environment, memory, tensorType, sizeBytes);
    for (const owned of [dimensions, layout, inModel, tensorType]) owned.delete();
    return buffer;
  }

  /**
   * Classifies a picture, or finds the objects in it.
   *
   * @param {Uint8ClampedArray} pixels RGB, row by row, height · width · 3 of them.
   * @returns {Promise<{answer: number[] | Found[], latencyMs: number}>} The classes' probabilities, or the objects as
   *   {box: [ymin, xmin, ymax, xmax], index, score}, the surest first, with boxes relative to the picture and the
   *   number of the class. The latency is that of the file alone.
   */
  async run(pixels) {
    const [input] = this.file.inputs;
    const encoded = encode(pixels, input, this.normalization);
    this.#access(this.#input, input.type, "WRITE", (memory) => memory.set(encoded));
    const start = performance.now();
    const buffers = await this.#compiled.run(0, [this.#input]);
    const latencyMs = performance.now() - start;
    const outputs = this.file.outputs.map((output, position) =>
      decode(this.#access(buffers[position], output.type, "READ", (memory) => Array.from(memory)), output),
    );
    for (const buffer of buffers) buffer.delete();
    return { answer: this.isDetector ? asObjects(outputs) : asProbabilities(outputs[0]), latencyMs };
  }

  /** Gives the memory back. */
  delete() {
    for (const owned of [this.#input, this.#compiled, this.#model]) owned?.delete();
    this.#wasm._free(this.#address);
  }

  #access(buffer, type, mode, use) {
    const address = buffer.lock(this.#wasm.LiteRtTensorBufferLockMode[mode]);
    const length = buffer.packedSize() / ARRAYS[type].BYTES_PER_ELEMENT;
    try {
      return use(new ARRAYS[type](this.#wasm.HEAPU8.buffer, address, length));
    } finally {
      buffer.unlock();
    }
  }
}

function check({ inputs, outputs }) {
  const describe = (tensors) => tensors.map(({ type, shape }) => `${type} (${shape.join(", ")})`).join(" and ");
  const isPicture = inputs.length === 1 && inputs[0].shape.length === 4 && inputs[0].shape[3] === 3;
  if (!isPicture || inputs[0].shape[0] !== 1 || !(inputs[0].type in ARRAYS)) {
    throw new UserError(
      "Expected a model whose input is one RGB picture, (1, height, width, 3) of float32, int8 or uint8. " +
        `Received: ${describe(inputs)}.`,
    );
  }
  if (!isClassifier(outputs) && !isDetector(outputs)) {
    throw new UserError(
      "Expected a model whose output is one score a class, (1, classes) of float32, int8 or uint8, or a detector's " +
        `boxes (1, n, 4), classes (1, n), scores (1, n) and count (1), float32. Received: ${describe(outputs)}.`,
    );
  }
}

function isClassifier(outputs) {
  return outputs.length === 1 && outputs[0].shape.length === 2 && outputs[0].type in ARRAYS;
}

/** Whether the outputs are those of TFLite's detectors, in the order of TFLite_Detection_PostProcess. */
function isDetector(outputs) {
  const n = outputs[0]?.shape[1];
  const expected = [[1, n, 4], [1, n], [1, n], [1]];
  return (
    outputs.length === 4 &&
    outputs.every(({ shape, type }, index) => type === "float32" && `${shape}` === `${expected[index]}`)
  );
}

/** The normalization that makes the darkest pixel the least integer and the brightest the largest. */
function wholeRange({ type, scale, zeroPoint }) {
  return type === "float32" ? null : { mean: [zeroPoint - LIMITS[type][0]], std: [1 / scale] };
}

/** Pixels as the input tensor takes them: normalized and, in integers, quantized with its scale and zero point. */
function encode(pixels, { type, scale, zeroPoint }, { mean, std }) {
  const values = new Float32Array(pixels).map((pixel, index) => {
    const channel = index % 3;
    return (pixel - (mean[channel] ?? mean[0])) / (std[channel] ?? std[0]);
  });
  if (type === "float32") return values;
  const [least, most] = LIMITS[type];
  return values.map((value) => Math.min(most, Math.max(least, Math.round(value / scale) + zeroPoint)));
}

/** What the numbers of the output tensor stand for. */
function decode(values, { type, scale, zeroPoint }) {
  return type === "float32" ? values : values.map((value) => (value - zeroPoint) * scale);
}

/** Scores that are no probabilities (negative, or more than rounding away from a sum of 1) go through a softmax. */
function asProbabilities(scores) {
  const sum = scores.reduce((sum, score) => sum + score, 0);
  if (scores.every((score) => score >= 0) && Math.abs(sum - 1) < 0.05) return scores;
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const total = powers.reduce((sum, power) => sum + power);
  return powers.map((power) => power / total);
}

function asObjects([boxes, classes, scores, [count]]) {
  return Array.from({ length: count }, (_, index) => ({
    box: boxes.slice(4 * index, 4 * index + 4).map((side) => Math.min(1, Math.max(0, side))),
    index: classes[index],
    score: scores[index],
  })).sort((a, b) => b.score - a.score);
}
