// Where shapes are, and shapes moved, resized and simplified.
import { rounded } from './document.js'
import { shapeMask } from './raster.js'

/** @typedef {import('./document.js').Shape} Shape @typedef {import('./document.js').Point} Point @typedef {import('./document.js').Box} Box @typedef {import('./document.js').Layout} Layout */

export const HANDLES = ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w']
const SAMPLES = 64 // cells a side on which a hit is looked up
const SMALLEST = 0.005

/** The box around a shape; a stroke's without the brush's width. @param {Shape} shape @returns {Box} */
export function boundsOf (shape) {
  const box = shape.box ?? shape.ellipse
  if (box) return box
  const points = shape.polygon ?? shape.stroke ?? []
  const across = points.map(([x]) => x)
  const down = points.map(([, y]) => y)
  const left = Math.min(...across)
  const top = Math.min(...down)
  return [left, top, Math.max(...across) - left, Math.max(...down) - top]
}

/** The shape with its points and sides put elsewhere. @param {Shape} shape @param {(point: Point) => Point} place @returns {Shape} */
function mapped (shape, place) {
  const put = (/** @type {Point} */ point) => /** @type {Point} */ (place(point).map(rounded))
  if (shape.polygon) return { ...shape, polygon: shape.polygon.map(put) }
  if (shape.stroke) return { ...shape, stroke: shape.stroke.map(put) }
  const [x, y, w, h] = boundsOf(shape)
  const [left, top] = place([x, y])
  const [right, bottom] = place([x + w, y + h])
  /** @type {Box} */
  const box = [rounded(left), rounded(top), rounded(right - left), rounded(bottom - top)]
  return shape.box ? { ...shape, box } : { ...shape, ellipse: box }
}

/** @param {Shape} shape @param {number} dx @param {number} dy @returns {Shape} */
export const moved = (shape, dx, dy) => mapped(shape, ([x, y]) => [x + dx, y + dy])

/** @param {Shape} shape @returns {Shape} */
export function mirrored (shape) {
  if (shape.polygon || shape.stroke) return mapped(shape, ([x, y]) => [1 - x, y])
  const [x, , w] = boundsOf(shape)
  return moved(shape, 1 - 2 * x - w, 0)
}

/** A shape in another box. @param {Shape} shape @param {Box} to @returns {Shape} */
export function fitted (shape, [left, top, width, height]) {
  const [x, y, w, h] = boundsOf(shape)
  const across = w > 0 ? width / w : 1
  const down = h > 0 ? height / h : 1
  return mapped(shape, ([px, py]) => [left + (px - x) * across, top + (py - y) * down])
}

/**
 * The box after a handle was dragged by so much; `square` keeps its proportions.
 * @param {Box} box @param {string} handle @param {number} dx @param {number} dy @param {boolean} square @returns {Box}
 */
export function resized ([x, y, w, h], handle, dx, dy, square) {
  let left = x + (handle.includes('w') ? Math.min(dx, w - SMALLEST) : 0)
  let top = y + (handle.includes('n') ? Math.min(dy, h - SMALLEST) : 0)
  let width = Math.max(SMALLEST, handle.includes('e') ? w + dx : x + w - left)
  let height = Math.max(SMALLEST, handle.includes('s') ? h + dy : y + h - top)
  if (square && handle.length === 2 && w > 0 && h > 0) {
    const scale = Math.max(width / w, height / h)
    width = w * scale
    height = h * scale
    if (handle.includes('w')) left = x + w - width
    if (handle.includes('n')) top = y + h - height
  }
  return [left, top, width, height]
}

/** The point of a handle. @param {Box} box @param {string} handle @returns {Point} */
export function handlePoint ([x, y, w, h], handle) {
  const at = (/** @type {string} */ low, /** @type {string} */ high) => (handle.includes(low) ? 0 : handle.includes(high) ? 1 : 0.5)
  return [x + w * at('w', 'e'), y + h * at('n', 's')]
}

/**
 * Where a picture of these proportions (width by height, in the layout's fractions) lies in a box: as large as it goes, in
 * the middle, as `pasted` of cones2/concepts/collage.py puts it. @param {Box} box @param {number} aspect @returns {Box}
 */
export function inside ([x, y, w, h], aspect) {
  const width = Math.min(w, h * aspect)
  const height = width / aspect
  return [x + (w - width) / 2, y + (h - height) / 2, width, height]
}

/** The box between two corners. @param {Point} from @param {Point} to @returns {Box} */
export function boxBetween ([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)]
}

/**
 * The uppermost shape at a point: the active subject's before others', later ones before earlier ones. Erasers are not met.
 * @param {Layout} layout @param {Point} point @param {number} active @returns {{ subject: number, shape: number } | null}
 */
export function shapeAt (layout, [x, y], active) {
  const order = [...layout.subjects.keys()].reverse()
  for (const subject of [active, ...order.filter((index) => index !== active)]) {
    const shapes = layout.subjects[subject]?.shapes ?? []
    for (let shape = shapes.length - 1; shape >= 0; shape--) {
      if (!shapes[shape].erase && covers(shapes[shape], x, y)) return { subject, shape }
    }
  }
  return null
}

/** @param {Shape} shape @param {number} x @param {number} y */
function covers (shape, x, y) {
  const [left, top, width, height] = boundsOf(shape)
  const margin = (shape.size ?? 0) / 2 + 1 / SAMPLES
  if (x < left - margin || x > left + width + margin || y < top - margin || y > top + height + margin) return false
  if (shape.box) return x >= left && x <= left + width && y >= top && y <= top + height
  if (x < 0 || x >= 1 || y < 0 || y >= 1) return false
  return shapeMask(shape, SAMPLES, SAMPLES)[Math.trunc(y * SAMPLES) * SAMPLES + Math.trunc(x * SAMPLES)] === 1
}

/** The lines that edges snap to: the picture's sides, thirds and middle, and other shapes' sides. @param {Layout} layout @param {Shape | undefined} except */
export function snapLines (layout, except) {
  const across = new Set([0, 1 / 3, 0.5, 2 / 3, 1])
  const down = new Set(across)
  for (const shape of layout.subjects.flatMap((subject) => subject.shapes)) {
    if (shape === except || shape.erase || shape.stroke) continue
    const [x, y, w, h] = boundsOf(shape)
    across.add(x).add(x + w)
    down.add(y).add(y + h)
  }
  return { across: [...across], down: [...down] }
}

/** How far to go so that one of the values lies on a line; 0 where none is near. @param {number[]} values @param {number[]} lines @param {number} near */
export function snapBy (values, lines, near) {
  const steps = values.flatMap((value) => lines.map((line) => line - value)).filter((step) => Math.abs(step) <= near)
  return steps.length ? steps.reduce((best, step) => (Math.abs(step) < Math.abs(best) ? step : best)) : 0
}

/** A line with fewer points, nowhere further than `tolerance` away (Douglas and Peucker 1973). @param {Point[]} points @param {number} tolerance @returns {Point[]} */
export function simplified (points, tolerance) {
  if (points.length < 3) return points.map(([x, y]) => [rounded(x), rounded(y)])
  const keep = new Set([0, points.length - 1])
  const parts = [[0, points.length - 1]]
  for (let part = parts.pop(); part; part = parts.pop()) {
    const [first, last] = part
    let [farthest, distance] = [first, tolerance]
    for (let index = first + 1; index < last; index++) {
      const away = distanceToLine(points[index], points[first], points[last])
      if (away > distance) [farthest, distance] = [index, away]
    }
    if (farthest !== first) {
      keep.add(farthest)
      parts.push([first, farthest], [farthest, last])
    }
  }
  return points.filter((_, index) => keep.has(index)).map(([x, y]) => [rounded(x), rounded(y)])
}

/** @param {Point} point @param {Point} start @param {Point} end */
function distanceToLine ([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0]
  const length = dx * dx + dy * dy
  const along = length ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length)) : 0
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy)
}
