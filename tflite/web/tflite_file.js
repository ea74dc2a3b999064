import { UserError } from "./errors.js";
import { Table } from "./flatbuffer.js";
import { OPERATOR_NAMES } from "./operator_names.js";
import { outsideXnnpack } from "./xnnpack.js";
import { readZip } from "./zip.js";

// https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs, `enum TensorType`
const TYPES = { 0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8" };
const CUSTOM = OPERATOR_NAMES.indexOf("CUSTOM");
const NORMALIZATION = 1; // metadata_schema.fbs, `union ProcessUnitOptions`

/** Whether a file, whatever its name, begins as a .tflite file does. */
export function isTflite(bytes) {
  return new TextDecoder().decode(bytes.subarray(4, 8)) === "TFL3";
}

/**
 * Reads what a .tflite file says about itself.
 *
 * @param {Uint8Array} bytes The file.
 * @returns {Promise<{
 *   inputs: Tensor[], outputs: Tensor[], operators: string[], outsideXnnpack: string[],
 *   normalization: {mean: number[], std: number[]} | null, labels: string[] | null
 * }>} Tensors as {shape, type, scale, zeroPoint, constant}, the last being a constant's bytes; the names of all
 *   operators of the main graph, and of those that XNNPACK leaves out; mean and std of pixels from 0 to 255, from
 *   TFLite's metadata; the names of the classes. Null stands for what the file does not tell.
 * @throws {UserError} If it is no such file, or damaged.
 */
export async function readTflite(bytes) {
  if (!isTflite(bytes)) throw new UserError("This is not a .tflite file: TFL3 is missing at its fifth byte.");
  try {
    const model = Table.root(bytes);
    const [graph] = model.tables(2);
    const buffers = model.tables(4);
    const tensors = graph.tables(0).map((tensor) => readTensor(tensor, buffers));
    const operators = readOperators(model, graph, tensors);
    return {
      inputs: graph.numbers(1, "Int32").map((index) => tensors[index]),
      outputs: graph.numbers(2, "Int32").map((index) => tensors[index]),
      operators: operators.map(({ name }) => name),
      outsideXnnpack: outsideXnnpack(operators).map(({ name }) => name),
      normalization: readNormalization(model),
      labels: await readLabels(bytes),
    };
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new UserError("This begins as a .tflite file does, but is damaged or something else.");
  }
}

function readTensor(tensor, buffers) {
  const quantization = tensor.table(4);
  const content = buffers[tensor.number(2, "Uint32")].bytes(0);
  return {
    shape: tensor.numbers(0, "Int32"),
    type: TYPES[tensor.number(1, "Int8")] ?? "another type",
    scale: quantization?.numbers(2, "Float32")[0] ?? 1,
    zeroPoint: quantization?.numbers(3, "BigInt64")[0] ?? 0,
    constant: content.length ? content : null,
  };
}

/** The operators as `outsideXnnpack` takes them; inputs that are absent are null. */
function readOperators(model, graph, tensors) {
  const names = model.tables(1).map((code) => {
    // Numbers up to 126 are in the first field of old files and of new ones, larger ones in the fourth.
    const number = Math.max(code.number(0, "Int8"), code.number(3, "Int32"));
    return number === CUSTOM ? code.string(1) : (OPERATOR_NAMES[number] ?? `operator ${number}`);
  });
  return graph.tables(3).map((operator) => ({
    name: names[operator.number(0, "Uint32")],
    inputs: operator.numbers(1, "Int32").map((index) => tensors[index] ?? null),
    outputs: operator.numbers(2, "Int32").map((index) => tensors[index]),
    options: operator.table(4),
  }));
}

/** Mean and standard deviation from metadata_schema.fbs (github.com/tensorflow/tflite-support); (x − mean) / std. */
function readNormalization(model) {
  const entry = model.tables(6).find((metadata) => metadata.string(0) === "TFLITE_METADATA");
  if (!entry) return null;
  const buffer = model.tables(4)[entry.number(1, "Uint32")];
  const [graph] = Table.root(buffer.bytes(0)).tables(3);
  const units = graph?.tables(2)[0]?.tables(4) ?? [];
  const options = units.find((unit) => unit.number(0, "Uint8") === NORMALIZATION)?.table(1);
  return options ? { mean: options.numbers(0, "Float32"), std: options.numbers(1, "Float32") } : null;
}

/** The lines of the text file with the classes in the zip archive at the file's end. */
async function readLabels(bytes) {
  const files = await readZip(bytes);
  const name = [...files.keys()].find((name) => /labels?.*\.txt$/i.test(name));
  return name ? new TextDecoder().decode(files.get(name)).replace(/\r?\n$/, "").split(/\r?\n/) : null;
}
