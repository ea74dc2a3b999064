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
 * @returns {Promise<MediaStream>} The stream, for `stopCamera`.
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
    return stream;
  } catch (error) {
    throw REASONS[error.name] ? new UserError(REASONS[error.name]) : error;
  }
}

/** Ends a stream, so that the camera's light goes out. */
export function stopCamera(stream) {
  for (const track of stream.getTracks()) track.stop();
}
