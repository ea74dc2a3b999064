import { startCamera, stopCamera } from "./camera.js";
import { UserError } from "./errors.js";
import { Model } from "./model.js";
import { decode, pixelsOf, resize } from "./picture.js";
import { isTflite } from "./tflite_file.js";
import * as view from "./view.js";

const RUNS = 15; // of a picture; the latency shown is the median
const PATIENCE_MS = 500; // a slow model gets fewer

let model = null;
let isBundledModel = false;
let picture = null; // the last one opened: {source, caption} and, of a bundled one, {file, keras}
let camera = null; // the stream, while it is on
let answer = null; // the model's last one
let latenciesMs = [];

// One task after the other, in the order in which they were asked for.
let queue = Promise.resolve();
let waiting = 0;

function enqueue(task) {
  waiting += 1;
  view.setBusy(true);
  queue = queue
    .then(() => view.showMessage(""))
    .then(task)
    .catch(report)
    .finally(() => {
      waiting -= 1;
      view.setBusy(waiting > 0);
    });
}

function report(error) {
  if (!(error instanceof UserError)) console.error(error);
  view.showMessage(error instanceof UserError ? error.message : `This did not work: ${error.message ?? error}`);
}

async function start() {
  const response = await fetch("models/bundle.json");
  if (!response.ok) {
    view.showModel("None yet", "");
    throw new UserError("This page comes without a model: open a .tflite file.");
  }
  const bundle = await response.json();
  view.showPictures(bundle.pictures, (entry) => enqueue(() => openBundled(entry)));
  const file = await (await fetch(bundle.model)).arrayBuffer();
  await openModel(new Uint8Array(file), bundle.name);
  isBundledModel = true;
  await openBundled(bundle.pictures[0]);
}

async function openModel(bytes, name) {
  const loaded = await Model.load(bytes);
  model?.delete();
  model = loaded;
  isBundledModel = false;
  latenciesMs = [];
  view.showModel(name, describe(bytes.length));
  view.showRangeChoice(model.normalization === null);
  model.normalization ??= view.chosenRange();
  answer = null;
  view.clearAnswer(model.isDetector);
}

function describe(sizeBytes) {
  const { file, width, height, classes, isDetector } = model;
  const parts = [`${(sizeBytes / 1e6).toFixed(2)} MB`, file.inputs[0].type, `${width} × ${height} px`];
  if (isDetector) parts.push("detector");
  if (classes !== null) parts.push(`${classes} classes`);
  return parts.join(" · ");
}

async function openBundled(entry) {
  const file = await (await fetch(entry.file)).blob();
  await openPicture({ source: await decode(file, entry.file), ...entry, caption: entry.class });
}

async function openFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isTflite(bytes)) {
    await openModel(bytes, file.name).catch((error) => refuse(`${file.name}: `, error));
    if (picture && !camera) await openPicture(picture);
  } else {
    const source = await decode(file, file.name).catch((error) => refuse("", error));
    await openPicture({ source, caption: file.name });
  }
}

function refuse(prefix, error) {
  if (!(error instanceof UserError)) throw error;
  throw new UserError(`${prefix}${error.message}${model ? " Model and picture stay as they were." : ""}`);
}

async function openPicture(opened) {
  turnCameraOff();
  picture = opened;
  view.showPicture(picture);
  if (!model) return;
  latenciesMs = [];
  answer = await look(picture.source, RUNS);
  showAnswer();
}

function showAnswer() {
  if (model.isDetector) {
    view.showObjects(answer, model.file.labels);
  } else {
    view.showProbabilities(answer, model.file.labels, isBundledModel && !camera ? picture.keras : undefined);
  }
}

/** The model's answer to a picture; the input that it comes from and the latency are shown. */
async function look(source, runs) {
  const pixels = resize(pixelsOf(source), model.width, model.height);
  view.showInput(pixels, model.width, model.height);
  const end = performance.now() + PATIENCE_MS;
  let result;
  for (let run = 0; run < runs && !(run > 0 && performance.now() > end); run++) {
    result = await model.run(pixels);
    latenciesMs = [...latenciesMs, result.latencyMs].slice(-RUNS);
  }
  view.showLatency(latenciesMs);
  return result.answer;
}

async function turnCameraOn() {
  if (!model) throw new UserError("Open a .tflite file first.");
  const stream = await startCamera(view.video);
  camera = stream;
  latenciesMs = [];
  view.showCamera(true);
  watch(stream).catch(report);
}

function turnCameraOff() {
  if (camera) stopCamera(camera);
  camera = null;
  view.showCamera(false);
}

async function takePicture() {
  await openPicture({ source: await createImageBitmap(view.video), caption: "From the camera" });
}

/** Answers to one frame after the other until the camera is turned off. */
async function watch(stream) {
  while (camera === stream) {
    await new Promise(requestAnimationFrame);
    if (waiting || camera !== stream) continue; // a new model or picture is on its way
    const latest = await look(view.video, 1);
    if (camera !== stream) continue;
    answer = latest;
    showAnswer();
  }
}

view.onFile((file) => enqueue(() => openFile(file)));
view.onCamera(() => enqueue(camera ? takePicture : turnCameraOn));
view.onRange(() =>
  enqueue(async () => {
    model.normalization = view.chosenRange();
    if (picture && !camera) await openPicture(picture);
  }),
);
view.onThreshold(() => model?.isDetector && answer && showAnswer());
enqueue(start);
