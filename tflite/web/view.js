/** The page's elements: what they show, and what they tell. */

const BEST = 5;
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

export function showModel(name, details) {
  element("model-name").textContent = name;
  element("model-details").textContent = details;
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

export function showCamera(on) {
  video.hidden = !on;
  element("preview").hidden = on;
  element("camera").textContent = on ? "Take the picture" : "Camera";
  element("camera").classList.toggle("on", on);
  if (on) {
    element("caption").textContent = "Camera";
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

/** Shows the best classes with bars; Keras's probabilities beside them where there are any. */
export function showAnswer(probabilities, labels, keras) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, BEST);
  const rows = order.map((index) => answerRow(named(labels, index), probabilities[index], keras?.[index]));
  element("answer").tBodies[0].replaceChildren(...rows);
  element("answer").classList.toggle("with-keras", Boolean(keras));
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
export function showSummary(probabilities, labels, keras) {
  const answer = best(probabilities);
  let text = `${named(labels, answer)}, ${percent(probabilities[answer])}.`;
  if (keras) {
    const difference = Math.max(...keras.map((share, index) => Math.abs(share - probabilities[index])));
    text +=
      best(keras) === answer
        ? ` Keras says the same, within ${(Math.ceil(1000 * difference) / 10).toFixed(1)} percentage points.`
        : ` Keras says ${named(labels, best(keras))}, ${percent(Math.max(...keras))}.`;
  }
  element("summary").textContent = text;
}

export function showLatency(latenciesMs) {
  const sorted = [...latenciesMs].sort((a, b) => a - b);
  const medianMs = sorted[Math.floor(sorted.length / 2)];
  element("latency").value = medianMs < 0.1 ? "< 0.1 ms" : `${medianMs.toFixed(1)} ms`; // browsers' clocks are coarse
  element("latency-note").textContent = `a picture; median of ${sorted.length} on one CPU thread`;
}

/** Calls back with every file that is chosen or dropped. */
export function onFile(callback) {
  for (const input of [element("model-file"), element("picture-file")]) {
    input.addEventListener("change", () => {
      if (input.files.length) callback(input.files[0]);
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
    if (event.dataTransfer.files.length) callback(event.dataTransfer.files[0]);
  });
}

export function onCamera(callback) {
  element("camera").addEventListener("click", callback);
}

export function onRange(callback) {
  element("range").addEventListener("change", callback);
}
