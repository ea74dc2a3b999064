/** The list of answers to several pictures. */

import { sizeOf } from "./picture.js";

const THUMBNAIL_PIXELS = 80; // the longer side; shown at half that, for sharp screens

const section = document.getElementById("several");
const list = document.getElementById("several-answers");

/** A small copy of a picture, for its row. */
export function thumbnailOf(source) {
  const [width, height] = sizeOf(source);
  const scale = Math.min(1, THUMBNAIL_PIXELS / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * Lists pictures with what the model says to each.
 *
 * @param {{caption: string, thumbnail: HTMLCanvasElement, answer: ?}[]} pictures None take the list away.
 * @param {function(?): string} inWords An answer in words.
 * @param {function(object)} onOpen Called back with the picture whose row is clicked.
 */
export function showSeveral(pictures, inWords, onOpen) {
  section.hidden = !pictures.length;
  list.replaceChildren(
    ...pictures.map((picture) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.addEventListener("click", () => onOpen(picture));
      const text = document.createElement("span");
      const name = Object.assign(document.createElement("span"), { className: "quiet", textContent: picture.caption });
      const answer = Object.assign(document.createElement("strong"), { textContent: inWords(picture.answer) });
      text.append(answer, name);
      button.append(picture.thumbnail, text);
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

/** Marks the row of the picture, one of those listed, that is shown in full; -1 marks none. */
export function markShown(position) {
  [...list.children].forEach((item, index) => item.firstChild.setAttribute("aria-pressed", index === position));
}
