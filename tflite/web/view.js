/** The page's elements: what they show, and what they tell. */

import { sizeOf } from "./picture.js";

const BEST = 5;
const MOST_ROWS = 10;
const BOXES_PIXELS = 1024; // the longer side of what boxes are drawn on
const PIXELATED_BELOW = 100; // pixels; a small picture is shown as the squares that it is

const element = (id) => document.getElementById(id);

export const video = element("video");

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const named = (labels, index) => labels?.[index] ?? `class ${index}`;
const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

export function setBusy(busy) {
  element("main").setAttribute("aria-busy", busy);
}

/** Shows a message about something that went wrong; an empty one takes the last away. */
export function showMessage(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}

export function showModel(name, details, operators) {
  element("model-name").textContent = name;
  element("model-details").textContent = details;
  element("model-operators").textContent = operators;
}

/** Offers a choice of the normalization, for a file that does not tell. */
export function showRangeChoice(visible) {
  element("range-choice").hidden = !visible;
  element("range").selectedIndex = 0;
}

/** The chosen normalization of pixels from 0 to 255. */
export function chosenRange() {
  const [mean, std] = element("range").value.split(",").map(Number);
  return { mean: [mean], std: [std] };
}

/** Makes a button of each bundled picture, {file, class}. */
export function showPictures(pictures, onOpen) {
  const buttons = pictures.map((picture) => {
    const image = Object.assign(new Image(), { src: picture.file, alt: picture.class, title: picture.class });
    const button = Object.assign(document.createElement("button"), { type: "button", onclick: () => onOpen(picture) });
    button.append(image);
    return button;
  });
  element("pictures").replaceChildren(...buttons);
}

/** Shows a picture, {source, caption}; with {file} it is a bundled one, whose button is marked. */
export function showPicture({ source, caption, file }) {
  const canvas = element("preview");
  const scale = Math.min(1, 1024 / Math.max(source.width, source.height));
  canvas.width = Math.max(1, Math.round(source.width * scale));
  canvas.height = Math.max(1, Math.round(source.height * scale));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  canvas.classList.toggle("pixelated", Math.max(canvas.width, canvas.height) < PIXELATED_BELOW);
  element("caption").textContent = caption;
  for (const button of element("pictures").children) {
    button.setAttribute("aria-pressed", button.firstChild.getAttribute("src") === file);
  }
}

/** Shows the video element in place of the picture, with the name of what runs in it; null shows the picture. */
export function showVideo(name) {
  const on = name !== null;
  video.hidden = !on;
  element("preview").hidden = on;
  clearBoxes();
  element("camera").textContent = on ? "Take the picture" : "Camera";
  element("camera").classList.toggle("on", on);
  if (on) {
    element("caption").textContent = name;
    element("summary").textContent = "\u00a0";
  }
}

/** Shows the pixels (RGB, height · width · 3) that the model gets. */
export function showInput(pixels, width, height) {
  const canvas = element("input");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    image.data.set(pixels.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  element("size").textContent = `the model sees ${width} × ${height}`;
}

/** Takes the last answer away, and shows the controls of the kind of model that is there now. */
export function clearAnswer(isDetector) {
  element("answer").tBodies[0].replaceChildren();
  element("answer").classList.remove("with-keras");
  element("score-choice").hidden = !isDetector;
  element("main").classList.toggle("detector", isDetector);
  element("summary").textContent = "\u00a0";
  clearBoxes();
}

/** What an answer says, in a few words. */
export function inWords(answer, isDetector, labels) {
  if (isDetector) return counted(atScore(answer), labels) || "no objects";
  return `${named(labels, best(answer))}, ${percent(Math.max(...answer))}`;
}

/** The objects that are as sure as the chosen score, or surer. */
function atScore(objects) {
  const least = Number(element("score").value);
  return objects.filter(({ score }) => score >= least);
}

/** How many objects there are of each class. */
function counted(objects, labels) {
  const counts = new Map();
  for (const { index } of objects) counts.set(index, (counts.get(index) ?? 0) + 1);
  return [...counts].map(([index, count]) => (count > 1 ? `${count} × ` : "") + named(labels, index)).join(", ");
}

/** Shows the best classes with bars, and in words; Keras's probabilities beside them where there are any. */
export function showProbabilities(probabilities, labels, keras) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, BEST);
  const rows = order.map((index) => answerRow(named(labels, index), probabilities[index], keras?.[index]));
  element("answer").tBodies[0].replaceChildren(...rows);
  element("answer").classList.toggle("with-keras", Boolean(keras));
  element("summary").textContent = summary(probabilities, labels, keras);
}

function answerRow(name, probability, keras) {
  const row = document.createElement("tr");
  const heading = Object.assign(document.createElement("th"), { scope: "row" });
  const bar = Object.assign(document.createElement("div"), { className: "bar" });
  bar.style.setProperty("--share", probability);
  heading.append(name, bar);
  row.append(heading, numberCell(probability));
  if (keras !== undefined) {
    bar.style.setProperty("--keras-share", keras);
    row.append(numberCell(keras));
  }
  return row;
}

function numberCell(share) {
  const cell = document.createElement("td");
  cell.append(Object.assign(document.createElement("data"), { value: share, textContent: percent(share) }));
  return cell;
}

/** Says in words what the answer is, and how it compares with Keras's. */
function summary(probabilities, labels, keras) {
  const answer = best(probabilities);
  const text = `${named(labels, answer)}, ${percent(probabilities[answer])}.`;
  if (!keras) return text;
  const difference = Math.max(...keras.map((share, index) => Math.abs(share - probabilities[index])));
  return best(keras) === answer
    ? `${text} Keras says the same, within ${(Math.ceil(1000 * difference) / 10).toFixed(1)} percentage points.`
    : `${text} Keras says ${named(labels, best(keras))}, ${percent(Math.max(...keras))}.`;
}

/** Draws the boxes of objects that are surer than the chosen score, and lists them. */
export function showObjects(objects, labels) {
  const least = Number(element("score").value);
  element("score-value").value = percent(least);
  const shown = atScore(objects);
  const rows = shown.slice(0, MOST_ROWS).map(({ index, score, box }) => {
    const row = answerRow(named(labels, index), score);
    row.style.setProperty("--hue", hue(index));
    row.dataset.box = box.join(" ");
    return row;
  });
  element("answer").tBodies[0].replaceChildren(...rows);
  const words = counted(shown, labels);
  const none = `No objects at ${percent(least)} or more.`;
  const surest = objects.length ? ` The surest is ${named(labels, objects[0].index)}, ${percent(objects[0].score)}.` : "";
  element("summary").textContent = words ? `${words}.` : none + surest;
  drawBoxes(shown, labels);
}

/** A color for each class; neighbors are far apart. */
const hue = (index) => (index * 137.5) % 360;

function clearBoxes() {
  const canvas = element("boxes");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

function drawBoxes(objects, labels) {
  const canvas = element("boxes");
  const [width, height] = sizeOf(video.hidden ? element("preview") : video);
  const scale = Math.min(BOXES_PIXELS / width, BOXES_PIXELS / height); // sharp lines also on small pictures
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.lineWidth = 4;
  context.font = "600 24px system-ui, sans-serif";
  context.textBaseline = "top";
  for (const { box, index, score } of [...objects].reverse()) {
    const [ymin, xmin, ymax, xmax] = box;
    const [x, y] = [xmin * canvas.width, ymin * canvas.height];
    context.strokeStyle = context.fillStyle = `hsl(${hue(index)} 90% 65%)`;
    context.strokeRect(x, y, (xmax - xmin) * canvas.width, (ymax - ymin) * canvas.height);
    const text = `${named(labels, index)} ${percent(score)}`;
    const textWidth = context.measureText(text).width + 12;
    const left = Math.max(0, Math.min(x - 2, canvas.width - textWidth));
    const top = y >= 32 ? y - 32 : y;
    context.fillRect(left, top, textWidth, 32);
    context.fillStyle = "black";
    context.fillText(text, left + 6, top + 5);
  }
}

export function showLatency(latenciesMs) {
  const sorted = [...latenciesMs].sort((a, b) => a - b);
  const medianMs = sorted[Math.floor(sorted.length / 2)];
  element("latency").value = medianMs < 0.1 ? "< 0.1 ms" : `${medianMs.toFixed(1)} ms`; // browsers' clocks are coarse
  element("latency-note").textContent = `a picture; median of ${sorted.length} on one CPU thread`;
}

/** Calls back with the files that are chosen or dropped together. */
export function onFiles(callback) {
  for (const input of [element("model-file"), element("picture-file")]) {
    input.addEventListener("change", () => {
      if (input.files.length) callback([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  const showDrop = (visible) => document.body.classList.toggle("dropping", visible);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    showDrop(event.dataTransfer.types.includes("Files"));
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && showDrop(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    showDrop(false);
    if (event.dataTransfer.files.length) callback([...event.dataTransfer.files]);
  });
}

export function onCamera(callback) {
  element("camera").addEventListener("click", callback);
}

export function onRange(callback) {
  element("range").addEventListener("change", callback);
}

export function onThreshold(callback) {
  element("score").addEventListener("input", callback);
}
