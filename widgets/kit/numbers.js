/** Arrays as Python packs them: {dtype, shape, bytes}, bytes a DataView, little-endian. */

const KINDS_OF_NUMBER = {
  uint8: Uint8Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** @param {{dtype: string, bytes: DataView}} packed @returns {ArrayLike<number>} */
export function numbers({ dtype, bytes }) {
  const kind = KINDS_OF_NUMBER[dtype];
  if (!kind) throw new Error(`no array of ${dtype} is sent to a view`);
  // Copied, since a typed array must begin at a multiple of its element size.
  return new kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** The same value with every packed array in it as a typed array. */
export function unpacked(value) {
  if (Array.isArray(value)) return value.map(unpacked);
  if (value === null || typeof value !== "object") return value;
  if (value.bytes instanceof DataView) return numbers(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpacked(item)]));
}
