import { startCamera, startVideo } from "./camera.js";
import { describeFile, describeOperators } from "./describe.js";
import { UserError } from "./errors.js";
import { Model } from "./model.js";
import { decode, pixelsOf, resize } from "./picture.js";
import { markShown, showSeveral, thumbnailOf } from "./several.js";
import { isTflite } from "./tflite_file.js";
import * as view from "./view.js";

const RUNS = 15; // of a picture; the latency shown is the median
const PATIENCE_MS = 500; // a slow model gets fewer

let model = null;
let isBundledModel = false;
let picture = null; // the last one opened: {source, caption}; of a bundled one also {file, keras}, of several {row}
let several = []; // the rows of those that were opened together: {file, caption, thumbnail, answer}
let video = null; // the camera or the video file, {name, caption, stop}, while it runs
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
    view.showModel("None yet", "", "");
    throw new UserError("This page comes without a model: open a .tflite file.");
  }
  const bundle = await response.json();
  view.showPictures(bundle.pictures, (entry) => enqueue(() => openBundled(entry)));
  const file = await (await fetch(bundle.model)).arrayBuffer();
  await openModel(new Uint8Array(file), bundle.name);
  isBundledModel = true;
  await openBundled(bundle.pictures.find((entry) => entry.file === bundle.opening) ?? bundle.pictures[0]);
}

async function openModel(bytes, name) {
  const loaded = await Model.load(bytes);
  model?.delete();
  model = loaded;
  isBundledModel = false;
  latenciesMs = [];
  view.showModel(name, describeFile(model, bytes.length), describeOperators(model));
  view.showRangeChoice(model.normalization === null);
  model.normalization ??= view.chosenRange();
  answer = null;
  view.clearAnswer(model.isDetector);
}

async function openBundled(entry) {
  const file = await (await fetch(entry.file)).blob();
  list([]);
  await openPicture({ source: await decode(file, entry.file), ...entry, caption: entry.class });
}

/** Opens what was chosen or dropped: models, pictures or a video. Each file that is none of them gets a line. */
async function openFiles(files) {
  const refused = [];
  const hadModel = model;
  const pictures = [];
  for (const file of files) {
    if (isTflite(new Uint8Array(await file.slice(0, 8).arrayBuffer()))) {
      const bytes = new Uint8Array(await file.arrayBuffer());
      await openModel(bytes, file.name).catch((error) => refuse(refused, error, `${file.name}: `));
    } else if (file.type.startsWith("video/") && files.length > 1) {
      refused.push(`${file.name} is a video: open it alone.`);
    } else {
      pictures.push(file);
    }
  }
  const isNewModel = model !== hadModel;
  const isVideo = pictures[0]?.type.startsWith("video/");
  const isOpened = isVideo
    ? await openVideo(pictures[0]).then(() => true, (error) => refuse(refused, error))
    : await openPictures(pictures, refused);
  if (isNewModel && !isOpened) await answerAgain();
  if (!refused.length) return;
  const stays = model && !isNewModel && !isOpened ? " Model and picture stay as they were." : "";
  throw new UserError(refused.join("\n") + stays);
}

function refuse(refused, error, prefix = "") {
  if (!(error instanceof UserError)) throw error;
  refused.push(`${prefix}${error.message}`);
  return false;
}

/** Opens picture files; more than one are listed, and the first is shown in full. Returns whether there were any. */
async function openPictures(files, refused) {
  const opened = [];
  const isList = files.length > 1;
  let first = null;
  for (const file of files) {
    const source = await decode(file, file.name).catch((error) => refuse(refused, error));
    if (!source) continue;
    first ??= source;
    const answer = model && isList ? await ask(source) : null; // one alone is answered when it is shown
    opened.push({ file, caption: file.name, thumbnail: thumbnailOf(source), answer });
    if (source !== first) source.close();
  }
  if (!opened.length) return false;
  list(opened.length > 1 ? opened : []);
  await openPicture({ source: first, caption: opened[0].caption, row: opened[0] });
  return true;
}

/** Answers anew to what is there, after a change of the model. */
async function answerAgain() {
  if (video) return; // the next frame will
  for (const row of several) row.answer = await ask(await decode(row.file, row.caption));
  list(several);
  if (picture) await openPicture(picture);
}

async function openPicture(opened) {
  stopVideo();
  picture = opened;
  view.showPicture(picture);
  markShown(several.indexOf(picture.row));
  if (!model) return;
  latenciesMs = [];
  answer = await look(picture.source, RUNS);
  showAnswer();
}

/** Lists pictures that were opened together, with what the model says to each. */
function list(rows) {
  several = rows;
  const inWords = (answer) => (answer ? view.inWords(answer, model.isDetector, model.file.labels) : "");
  showSeveral(rows, inWords, (row) =>
    enqueue(async () => openPicture({ source: await decode(row.file, row.caption), caption: row.caption, row })),
  );
  markShown(several.indexOf(picture?.row));
}

function showAnswer() {
  if (model.isDetector) {
    view.showObjects(answer, model.file.labels);
  } else {
    view.showProbabilities(answer, model.file.labels, isBundledModel && !video ? picture.keras : undefined);
  }
}

/** The model's answer to a picture. */
async function ask(source) {
  return (await model.run(resize(pixelsOf(source), model.width, model.height))).answer;
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

async function openVideo(file) {
  if (!model) throw new UserError("Open a .tflite file first.");
  stopVideo();
  try {
    show(await startVideo(view.video, file));
  } catch (error) {
    await answerAgain();
    throw error;
  }
}

async function turnCameraOn() {
  if (!model) throw new UserError("Open a .tflite file first.");
  show(await startCamera(view.video));
}

/** Shows a camera or a video file that was started. */
function show(started) {
  video = started;
  latenciesMs = [];
  list([]);
  view.showVideo(started.name);
  watch(started).catch(report);
}

function stopVideo() {
  video?.stop();
  video = null;
  view.showVideo(null);
}

async function takePicture() {
  await openPicture({ source: await createImageBitmap(view.video), caption: video.caption });
}

/** Answers to one frame after the other until the camera or the video is stopped. */
async function watch(started) {
  while (video === started) {
    await new Promise(requestAnimationFrame);
    if (waiting || video !== started) continue; // a new model or picture is on its way
    const asked = model;
    const latest = await look(view.video, 1);
    if (video !== started || model !== asked) continue;
    answer = latest;
    showAnswer();
  }
}

view.onFiles((files) => enqueue(() => openFiles(files)));
view.onCamera(() => enqueue(() => (video ? takePicture() : turnCameraOn())));
view.onRange(() =>
  enqueue(async () => {
    model.normalization = view.chosenRange();
    await answerAgain();
  }),
);
view.onThreshold(() => {
  if (!model?.isDetector || !answer) return;
  showAnswer();
  list(several);
});
enqueue(start);
