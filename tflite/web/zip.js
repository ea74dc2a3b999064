// Signatures and positions: section 4.3 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
const END = 0x06054b50;
const END_LENGTH = 22;
const ENTRY = 0x02014b50;
const STORED = 0;

/**
 * Reads the zip archive at the end of a file, as TFLite's tools append it to a model.
 *
 * @param {Uint8Array} bytes The file.
 * @returns {Promise<Map<string, Uint8Array>>} The archive's files by name; none where there is no archive.
 */
export async function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const files = new Map();
  const end = findEnd(view);
  if (end < 0) return files;
  const length = view.getUint32(end + 12, true);
  // Offsets count from the archive's first byte, which is the file's in Python's zipfile but not in every program.
  const start = end - length - view.getUint32(end + 16, true);
  for (let at = end - length; at < end && view.getUint32(at, true) === ENTRY; ) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const local = start + view.getUint32(at + 42, true);
    const content = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.subarray(content, content + view.getUint32(at + 20, true));
    files.set(name, view.getUint16(at + 10, true) === STORED ? packed : await inflate(packed));
    at += 46 + nameLength + extraLength + commentLength;
  }
  return files;
}

function findEnd(view) {
  const first = Math.max(0, view.byteLength - END_LENGTH - 0xffff); // a comment may follow
  for (let at = view.byteLength - END_LENGTH; at >= first; at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  return -1;
}

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
