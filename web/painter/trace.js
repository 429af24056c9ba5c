// From pixels to shapes: the colors of a painted layout, and the outlines of what is painted.
import { rounded } from './document.js'
import { simplified } from './geometry.js'

/** @typedef {import('./document.js').Shape} Shape @typedef {import('./document.js').Point} Point @typedef {[number, number, number]} Rgb */
/** @typedef {{ data: Uint8ClampedArray, width: number, height: number }} Pixels */

const GRAY = 24 // difference of the channels up to which a color counts as gray, as in cones2/layout/colors.py
const NEAR = 96 // Euclidean distance of shades that are one color, as its DEFAULT_TOLERANCE
const LEAST = 0.005 // share of the picture that a color fills at least
const SMALLEST = 0.001 // share of the picture of an outline at least
const TOLERANCE = 0.004 // how far an outline may leave the pixels, in fractions

/**
 * The colors that fill a painted layout, largest first; black, white and grays are background.
 * @param {Pixels} pixels @returns {Rgb[]}
 */
export function prominentColors ({ data, width, height }) {
  /** @type {Map<number, { count: number, sum: Rgb }>} */
  const shades = new Map()
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue] = onWhite(data, at)
    const shade = (red >> 3) << 10 | (green >> 3) << 5 | blue >> 3
    const found = shades.get(shade) ?? { count: 0, sum: /** @type {Rgb} */ ([0, 0, 0]) }
    found.count += 1
    found.sum = [found.sum[0] + red, found.sum[1] + green, found.sum[2] + blue]
    shades.set(shade, found)
  }
  /** @type {Rgb[]} */
  const colors = []
  for (const { count, sum } of [...shades.values()].sort((a, b) => b.count - a.count)) {
    if (count < LEAST * width * height) break
    const color = /** @type {Rgb} */ (sum.map((channel) => Math.round(channel / count)))
    const gray = Math.max(...color) - Math.min(...color) <= GRAY
    if (!gray && colors.every((other) => distance(color, other) > NEAR)) colors.push(color)
  }
  return colors
}

/** @param {Uint8ClampedArray} data @param {number} at @returns {Rgb} */
function onWhite (data, at) {
  const alpha = data[at + 3] / 255
  const mixed = (/** @type {number} */ channel) => Math.round(data[at + channel] * alpha + 255 * (1 - alpha))
  return [mixed(0), mixed(1), mixed(2)]
}

/** @param {Rgb} a @param {Rgb} b */
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])

/**
 * Where each color is painted: 0 or 1 per pixel. A pixel belongs to the nearest color, white or black.
 * @param {Pixels} pixels @param {Rgb[]} colors @returns {Uint8Array[]}
 */
export function colorMasks ({ data }, colors) {
  const masks = colors.map(() => new Uint8Array(data.length / 4))
  const all = [...colors, /** @type {Rgb} */ ([255, 255, 255]), /** @type {Rgb} */ ([0, 0, 0])]
  for (let at = 0; at < data.length; at += 4) {
    const pixel = onWhite(data, at)
    const apart = all.map((color) => distance(pixel, color))
    const nearest = apart.indexOf(Math.min(...apart))
    if (nearest < colors.length && apart[nearest] <= NEAR) masks[nearest][at / 4] = 1
  }
  return masks
}

/** The light pixels of a mask picture. @param {Pixels} pixels */
export function lightMask ({ data }) {
  const mask = new Uint8Array(data.length / 4)
  for (let at = 0; at < data.length; at += 4) mask[at / 4] = (data[at] + data[at + 1] + data[at + 2]) / 3 * data[at + 3] / 255 >= 128 ? 1 : 0
  return mask
}

/**
 * Polygons around what a mask holds; holes become erasing polygons.
 * @param {Uint8Array} mask @param {number} height @param {number} width @returns {Shape[]}
 */
export function outlines (mask, height, width) {
  const rings = closedLines(edges(mask, height, width))
  /** @type {{ size: number, shape: Shape }[]} */
  const found = []
  for (const ring of rings) {
    const size = area(ring)
    if (Math.abs(size) < SMALLEST * width * height) continue
    const points = simplified([...ring, ring[0]].map(([x, y]) => /** @type {Point} */ ([x / width, y / height])), TOLERANCE).slice(0, -1)
    if (points.length > 2) found.push({ size, shape: size < 0 ? { polygon: points, erase: true } : { polygon: points } })
  }
  // what surrounds a hole is drawn before it, what lies in the hole after it
  return found.sort((a, b) => Math.abs(b.size) - Math.abs(a.size)).map(({ shape }) => asBox(shape))
}

/** A polygon that is an upright rectangle, as a box. @param {Shape} shape @returns {Shape} */
function asBox (shape) {
  const points = shape.polygon ?? []
  const across = [...new Set(points.map(([x]) => x))].sort((a, b) => a - b)
  const down = [...new Set(points.map(([, y]) => y))].sort((a, b) => a - b)
  if (points.length !== 4 || across.length !== 2 || down.length !== 2) return shape
  const box = /** @type {import('./document.js').Box} */ ([across[0], down[0], across[1] - across[0], down[1] - down[0]].map(rounded))
  return shape.erase ? { box, erase: true } : { box }
}

/** The sides between set and unset cells, each with the set cell on its right; from each corner to the next. @param {Uint8Array} mask @param {number} height @param {number} width */
function edges (mask, height, width) {
  /** @type {Map<number, number[]>} */
  const next = new Map()
  const corner = (/** @type {number} */ x, /** @type {number} */ y) => y * (width + 1) + x
  const add = (/** @type {number} */ from, /** @type {number} */ to) => next.set(from, [...(next.get(from) ?? []), to])
  const set = (/** @type {number} */ x, /** @type {number} */ y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!set(x, y)) continue
      if (!set(x, y - 1)) add(corner(x, y), corner(x + 1, y))
      if (!set(x + 1, y)) add(corner(x + 1, y), corner(x + 1, y + 1))
      if (!set(x, y + 1)) add(corner(x + 1, y + 1), corner(x, y + 1))
      if (!set(x - 1, y)) add(corner(x, y + 1), corner(x, y))
    }
  }
  return { next, width: width + 1 }
}

/** @param {{ next: Map<number, number[]>, width: number }} edges @returns {Point[][]} */
function closedLines ({ next, width }) {
  /** @type {Point[][]} */
  const rings = []
  for (const [start, ways] of next) {
    while (ways.length) {
      /** @type {Point[]} */
      const ring = []
      for (let at = start; ;) {
        ring.push([at % width, Math.trunc(at / width)])
        const to = next.get(at)?.pop()
        if (to === undefined) break
        at = to
        if (at === start) break
      }
      rings.push(ring)
    }
  }
  return rings
}

/** The signed area of a ring: negative around a hole. @param {Point[]} ring */
function area (ring) {
  return ring.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = ring[(index + 1) % ring.length]
    return sum + (x * nextY - nextX * y) / 2
  }, 0)
}
