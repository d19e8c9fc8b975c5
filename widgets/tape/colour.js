/** From a signed number to a colour: the paper at 0, one hue on either side. */
const STOPS = {
  light: [[0, 74, 130], [94, 158, 206], [255, 255, 255], [214, 166, 72], [112, 72, 0]],
  dark: [[140, 208, 250], [44, 104, 150], [20, 23, 28], [138, 100, 30], [250, 214, 130]],
};

/** @param {number} at -1 to 1 @param {"light" | "dark"} theme @returns {number[]} red, green, blue */
export function signedColour(at, theme) {
  const x = (Math.min(1, Math.max(-1, at)) + 1) * 2;
  const low = Math.min(3, Math.floor(x));
  const [a, b] = [STOPS[theme][low], STOPS[theme][low + 1]];
  return a.map((channel, i) => Math.round(channel + (b[i] - channel) * (x - low)));
}

/**
 * A matrix as pixels, one for each entry.
 * @param {ArrayLike<number>} values @param {number} most what gets the full colour
 */
export function painted(values, width, most, theme) {
  const image = new ImageData(width, values.length / width);
  for (let i = 0; i < values.length; i += 1)
    image.data.set([...signedColour(most ? values[i] / most : 0, theme), 255], 4 * i);
  return image;
}
