import { startCamera, stopCamera } from "./camera.js";
import { Classifier } from "./classifier.js";
import { UserError } from "./errors.js";
import { decode, pixelsOf, resize } from "./picture.js";
import { isTflite } from "./tflite_file.js";
import * as view from "./view.js";

const RUNS = 15; // of a picture; the latency shown is the median
const PATIENCE_MS = 500; // a slow model gets fewer

let classifier = null;
let isBundledModel = false;
let picture = null; // the last one opened: {source, caption} and, of a bundled one, {file, keras}
let camera = null; // the stream, while it is on
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
  const loaded = await Classifier.load(bytes);
  classifier?.delete();
  classifier = loaded;
  isBundledModel = false;
  latenciesMs = [];
  view.showModel(name, describe(bytes.length));
  view.showRangeChoice(classifier.normalization === null);
  classifier.normalization ??= view.chosenRange();
}

function describe(sizeBytes) {
  const { file, width, height, classes } = classifier;
  return `${(sizeBytes / 1e6).toFixed(2)} MB · ${file.inputs[0].type} · ${width} × ${height} px · ${classes} classes`;
}

async function openBundled(entry) {
  const file = await (await fetch(entry.file)).blob();
  await openPicture({ source: await decode(file, entry.file), ...entry, caption: entry.class });
}

async function openFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isTflite(bytes) || file.name.endsWith(".tflite")) {
    await openModel(bytes, file.name);
    if (picture && !camera) await openPicture(picture);
  } else {
    await openPicture({ source: await decode(file, file.name), caption: file.name });
  }
}

async function openPicture(opened) {
  turnCameraOff();
  picture = opened;
  view.showPicture(picture);
  if (!classifier) return;
  latenciesMs = [];
  const probabilities = await classify(picture.source, RUNS);
  const keras = isBundledModel ? picture.keras : undefined;
  view.showAnswer(probabilities, classifier.file.labels, keras);
  view.showSummary(probabilities, classifier.file.labels, keras);
}

/** The probabilities of a picture's classes; the input that they come from and the latency are shown. */
async function classify(source, runs) {
  const pixels = resize(pixelsOf(source), classifier.width, classifier.height);
  view.showInput(pixels, classifier.width, classifier.height);
  const end = performance.now() + PATIENCE_MS;
  let probabilities;
  for (let run = 0; run < runs && !(run > 0 && performance.now() > end); run++) {
    const result = await classifier.run(pixels);
    probabilities = result.probabilities;
    latenciesMs = [...latenciesMs, result.latencyMs].slice(-RUNS);
  }
  view.showLatency(latenciesMs);
  return probabilities;
}

async function turnCameraOn() {
  if (!classifier) throw new UserError("Open a .tflite file first.");
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

/** Classifies one frame after the other until the camera is turned off. */
async function watch(stream) {
  while (camera === stream) {
    await new Promise(requestAnimationFrame);
    if (waiting || camera !== stream) continue; // a new model or picture is on its way
    const probabilities = await classify(view.video, 1);
    if (camera === stream) view.showAnswer(probabilities, classifier.file.labels);
  }
}

view.onFile((file) => enqueue(() => openFile(file)));
view.onCamera(() => enqueue(camera ? takePicture : turnCameraOn));
view.onRange(() =>
  enqueue(async () => {
    classifier.normalization = view.chosenRange();
    if (picture && !camera) await openPicture(picture);
  }),
);
enqueue(start);
