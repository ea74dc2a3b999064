/**
 * A table of a FlatBuffer, the format of .tflite files and of the metadata in them.
 *
 * A table starts with the distance to its vtable, which holds, two bytes a field, where the field's value is; 0
 * or the end of the vtable says that it has none. Everything is little-endian.
 * Format: https://flatbuffers.dev/internals/
 */
export class Table {
  #view;
  #position;

  constructor(view, position) {
    this.#view = view;
    this.#position = position;
  }

  /** The root table of a buffer, a Uint8Array. */
  static root(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new Table(view, view.getUint32(0, true));
  }

  /** The number in a field. `type` is as in DataView's methods: "Int8", "Float32" … */
  number(field, type, fallback = 0) {
    const position = this.#locate(field);
    return position ? Number(this.#view[`get${type}`](position, true)) : fallback;
  }

  /** The table in a field, or null. */
  table(field) {
    const position = this.#locate(field);
    return position ? new Table(this.#view, this.#follow(position)) : null;
  }

  /** The vector of numbers in a field, as an Array. */
  numbers(field, type) {
    const size = { 8: 1, 16: 2, 32: 4, 64: 8 }[type.match(/\d+/)[0]];
    return this.#elements(field, size, (position) => Number(this.#view[`get${type}`](position, true)));
  }

  /** The vector of tables in a field, as an Array. */
  tables(field) {
    return this.#elements(field, 4, (position) => new Table(this.#view, this.#follow(position)));
  }

  /** The vector of bytes in a field, as a Uint8Array on the same memory. */
  bytes(field) {
    const position = this.#locate(field);
    if (!position) return new Uint8Array();
    const start = this.#follow(position);
    const length = this.#view.getUint32(start, true);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + start + 4, length);
  }

  /** The string in a field. */
  string(field) {
    return new TextDecoder().decode(this.bytes(field));
  }

  #elements(field, size, read) {
    const position = this.#locate(field);
    if (!position) return [];
    const start = this.#follow(position);
    const length = this.#view.getUint32(start, true);
    if (length * size > this.#view.byteLength) throw new RangeError(`a vector of ${length} elements`);
    return Array.from({ length }, (_, index) => read(start + 4 + index * size));
  }

  #locate(field) {
    const vtable = this.#position - this.#view.getInt32(this.#position, true);
    const entry = 4 + 2 * field;
    if (entry >= this.#view.getUint16(vtable, true)) return 0;
    const offset = this.#view.getUint16(vtable + entry, true);
    return offset && this.#position + offset;
  }

  #follow(position) {
    return position + this.#view.getUint32(position, true);
  }
}
