import { UserError } from "./errors.js";

const REASONS = {
  NotAllowedError: "This page may not use the camera. Allow it in the browser's settings and try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

/**
 * Shows the camera in a video element; on phones the one at the back.
 *
 * @param {HTMLVideoElement} video
 * @returns {Promise<{name: string, caption: string, stop: function}>} What is shown, the caption of a picture taken of
 *   it, and what ends it, so that the camera's light goes out.
 * @throws {UserError} If there is no camera, or the page may not use it.
 */
export async function startCamera(video) {
  if (!navigator.mediaDevices) {
    throw new UserError("Browsers give the camera only to pages from https or from localhost.");
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    video.srcObject = stream;
    await video.play();
    const stop = () => stream.getTracks().forEach((track) => track.stop());
    return { name: "Camera", caption: "From the camera", stop };
  } catch (error) {
    throw REASONS[error.name] ? new UserError(REASONS[error.name]) : error;
  }
}

/**
 * Plays a video file in a video element, over and over.
 *
 * @param {HTMLVideoElement} video
 * @param {File} file
 * @returns {Promise<{name: string, caption: string, stop: function}>} As of `startCamera`.
 * @throws {UserError} If the browser cannot play it.
 */
export async function startVideo(video, file) {
  const url = URL.createObjectURL(file);
  const stop = () => {
    video.pause();
    URL.revokeObjectURL(url);
  };
  video.srcObject = null;
  video.loop = true;
  video.src = url;
  try {
    await video.play();
  } catch (error) {
    stop();
    if (error.name !== "NotSupportedError") throw error;
    throw new UserError(`${file.name} is a video that this browser cannot play.`);
  }
  return { name: file.name, caption: `From ${file.name}`, stop };
}
