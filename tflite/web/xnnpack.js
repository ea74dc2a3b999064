/**
 * Which operators of a .tflite file XNNPACK leaves to LiteRT's slower kernels.
 *
 * LiteRT.js tells whether XNNPACK has all of them, but not which it lacks. These are the rules of LiteRT's delegate, as
 * far as files of pictures meet them: what is computed, with which types, from which constants. From
 * https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitNode`
 */

const names = (text) => new Set(text.split(" "));

const FLOATS = names("float32 float16");
const INTEGERS = names("int8 uint8");

const OF_FLOATS = names(
  "ABS AVERAGE_POOL_2D CEIL COS DIV EXP FLOOR GELU HARD_SWISH LOG MAXIMUM MINIMUM NEG PRELU RELU RELU6 RELU_N1_TO_1 " +
    "ROUND RSQRT SIN SOFTMAX SQRT SQUARE SQUARED_DIFFERENCE",
);
const OF_FLOATS_OR_INTEGERS = names(
  "ADD BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE ELU EXPAND_DIMS " +
    "FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE REDUCE_MAX REDUCE_MIN RESHAPE " +
    "RESIZE_BILINEAR SLICE SPACE_TO_DEPTH SPLIT STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV",
);

/** The inputs that have to be constants; those in OPTIONAL may be absent. */
const CONSTANTS = {
  CONV_2D: [1, 2],
  DEPTHWISE_CONV_2D: [1, 2],
  EXPAND_DIMS: [1],
  MEAN: [1],
  PAD: [1],
  PRELU: [1],
  REDUCE_MAX: [1],
  REDUCE_MIN: [1],
  RESHAPE: [1],
  RESIZE_BILINEAR: [1],
  SLICE: [1, 2],
  SPLIT: [0],
  STRIDED_SLICE: [1, 2, 3],
  SUM: [1],
  TRANSPOSE: [1],
  TRANSPOSE_CONV: [0, 1, 3],
};
const OPTIONAL = { RESHAPE: [1], TRANSPOSE_CONV: [3] };

/** What else has to hold, as functions of the operator and of what tells whether a tensor is constant. */
const RULES = {
  ADD: ({ inputs, outputs }) => inputs.every((input) => haveScales(input, outputs[0], 1 / 1024, 256)),
  AVERAGE_POOL_2D: isCovering,
  BATCH_MATMUL: ({ inputs: [one, other] }) =>
    FLOATS.has(one.type) || (one.type === other.type && other.zeroPoint === 0),
  CONCATENATION: ({ inputs }) => inputs.length >= 2 && inputs.length <= 5,
  DEQUANTIZE: ({ inputs, outputs }) => INTEGERS.has(inputs[0].type) && FLOATS.has(outputs[0].type),
  FULLY_CONNECTED: ({ inputs: [, filter, bias] }, isConstant) =>
    [filter, bias].every((tensor) => !tensor || tensor.type === "float32" || isConstant(tensor)),
  MAX_POOL_2D: isCovering,
  MUL: ({ inputs: [one, other], outputs: [product] }) =>
    haveScales({ ...one, scale: one.scale * other.scale }, product, 1 / 65536, 256) && one.type === other.type,
  QUANTIZE: ({ inputs: [from], outputs: [to] }) => FLOATS.has(from.type) || from.type === to.type,
  SOFTMAX: (operator) => option(operator, 0, "Float32") === 1,
  STRIDED_SLICE: (operator) =>
    int32s(operator.inputs[3].constant).every((stride) => stride === 1) &&
    [2, 3, 4].every((mask) => option(operator, mask) === 0),
  SUB: ({ inputs, outputs }) => inputs.every((input) => haveScales(input, outputs[0], 1 / 1024, 256)),
};

/** Whether two tensors have one type and, as integers, scales that XNNPACK can go from and to. */
function haveScales(from, to, least, most) {
  if (from.type !== to.type) return false;
  const ratio = from.scale / to.scale;
  return !INTEGERS.has(from.type) || (ratio >= least && ratio < most);
}

/** Whether a pooling's windows leave no pixel out. */
function isCovering(operator) {
  const [strideWidth, strideHeight, width, height] = [1, 2, 3, 4].map((field) => option(operator, field));
  return strideWidth <= width && strideHeight <= height;
}

const option = ({ options }, field, type = "Int32") => options?.number(field, type) ?? 0;

function int32s(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getInt32(4 * index, true));
}

/**
 * The operators outside XNNPACK.
 *
 * @param {{name: string, inputs: (Tensor | null)[], outputs: Tensor[], options: Table | null}[]} operators All of a file's, as
 *   of `readTflite`.
 * @returns {object[]} Those of them that it leaves out, in the same order.
 */
export function outsideXnnpack(operators) {
  // What is only unpacked from constants, such as float16 weights, is constant, and XNNPACK's if all that read it are.
  const unpacked = new Map();
  const isConstant = (tensor) => tensor.constant !== null || unpacked.has(tensor);
  const outside = new Set();
  for (const operator of operators) {
    const [input] = operator.inputs;
    const unpacks = operator.name === "DENSIFY" || (operator.name === "DEQUANTIZE" && /float16|^int8/.test(input.type));
    if (unpacks && isConstant(input)) {
      unpacked.set(operator.outputs[0], operator);
    } else if (!isTaken(operator, isConstant)) {
      outside.add(operator);
      for (const tensor of operator.inputs) if (unpacked.has(tensor)) outside.add(unpacked.get(tensor));
    }
  }
  return operators.filter((operator) => outside.has(operator));
}

function isTaken(operator, isConstant) {
  const { name, inputs, outputs } = operator;
  const takesIntegers = OF_FLOATS_OR_INTEGERS.has(name);
  if (!takesIntegers && !OF_FLOATS.has(name)) return false;
  const constants = CONSTANTS[name] ?? [];
  const areThere = constants.every((position) =>
    inputs[position] ? isConstant(inputs[position]) : OPTIONAL[name]?.includes(position),
  );
  const parameters = name === "FULLY_CONNECTED" ? [1, 2] : constants; // whose types are not those of its values
  const values = [...inputs.filter((tensor, position) => tensor && !parameters.includes(position)), ...outputs];
  const fit = values.every(({ type }) => FLOATS.has(type) || (takesIntegers && INTEGERS.has(type)));
  return areThere && fit && (RULES[name]?.(operator, isConstant) ?? true);
}
