/** What the page says about a model, in words. */

/** Size, input, classes and labels of a `Model` that was loaded from so many bytes. */
export function describeFile({ file, width, height, classes, isDetector }, sizeBytes) {
  const parts = [`${(sizeBytes / 1e6).toFixed(2)} MB`, file.inputs[0].type, `${width} × ${height} px`];
  if (isDetector) parts.push("detector");
  if (classes !== null) parts.push(counted(classes, "class", "classes"));
  parts.push(file.labels ? counted(file.labels.length, "label") : "no labels");
  return parts.join(" · ");
}

/**
 * How many operators a `Model` has, and which of them run outside XNNPACK.
 *
 * Whether there are any LiteRT.js tells; which they are the rules of xnnpack.js.
 */
export function describeOperators({ file, isAllInXnnpack }) {
  const all = counted(file.operators.length, "operator");
  if (isAllInXnnpack) return `${all}, all in XNNPACK`;
  const counts = new Map();
  for (const name of file.outsideXnnpack) counts.set(name, (counts.get(name) ?? 0) + 1);
  if (!counts.size) return `${all}, not all of them in XNNPACK`;
  const names = [...counts].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name));
  return `${all}, outside XNNPACK: ${names.join(", ")}`;
}

const counted = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
